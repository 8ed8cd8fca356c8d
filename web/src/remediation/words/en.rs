//! English.

use super::{Span, Step, Why, Words, count};

pub(in crate::remediation) static WORDS: Words = Words {
    title: "Network access",
    held: "This device has limited network access",
    moving_title: "That worked: your device is being let in",
    moving_text: "Your device is fine now, and the network is moving it. The connection may drop for a moment. If nothing \
                  happens within a minute, disconnect from this network and connect again.",
    settled_title: "This device is not held back",
    settled_text: "You can close this page. If something still does not work, disconnect from this network and connect \
                   again.",
    what_to_do: "What to do",
    about: "About this device",
    check_again: "Check again",
    open_portal: "Open the Company Portal website",
    language: "Language",
    device: "Device",
    address: "Network address",
    last_check_in: "Last contact with Microsoft Intune",
    looked_at: "Last checked with Microsoft",
    grace_ends: "Time to fix it ends",
    checking: "Checking with Microsoft. This page renews itself.",
    no_change: "Checked a moment ago: nothing has changed yet.",
    late: "There is no new answer from Microsoft yet. The check goes on by itself: come back in a few minutes.",
    gone_title: "This address is not good any more",
    gone_text: "It may be too old, or incomplete. Disconnect from this network and connect again, and you are given a \
                new one. If your device is not registered with your organization yet, do that first:",
    busy_title: "Not possible right now",
    away_text: "Nothing has changed for your device. Try again in a minute.",
    help_from: |org| format!("Help from {org}"),
    too_soon: |seconds| format!("You asked a moment ago. You can ask again in {seconds} s."),
    ago: |span| match span {
        Span::Moments => "just now".to_owned(),
        Span::Minutes(n) => format!("{} ago", count(n, "minute", "minutes")),
        Span::Hours(n) => format!("{} ago", count(n, "hour", "hours")),
        Span::Days(n) => format!("{} ago", count(n, "day", "days")),
    },
    ahead: |span| match span {
        Span::Moments => "in a moment".to_owned(),
        Span::Minutes(n) => format!("in {}", count(n, "minute", "minutes")),
        Span::Hours(n) => format!("in {}", count(n, "hour", "hours")),
        Span::Days(n) => format!("in {}", count(n, "day", "days")),
    },
    why: |why| match why {
        Why::NonCompliant => (
            "It does not meet your organization’s security requirements",
            "Something about this device needs to be changed, for example an update, a passcode or encryption.",
        ),
        Why::InGrace => (
            "It must be fixed soon",
            "This device does not meet your organization’s security requirements. There is some time left to change \
             that.",
        ),
        Why::NotEvaluated => (
            "It has not been checked yet",
            "This device is registered, but Microsoft Intune has not checked it yet. After registration that takes \
             some minutes.",
        ),
        Why::NotDetermined => (
            "Its security could not be determined",
            "Microsoft Intune tried to check this device and came to no result.",
        ),
        Why::NotEnrolled => (
            "It is not registered with your organization",
            "No device of your organization fits this one. Only registered devices get full access.",
        ),
        Why::RandomMac => (
            "It hides its network address",
            "This device uses a private (random) address on this network, so it cannot be recognized.",
        ),
        Why::NoCertificate => (
            "It did not show its certificate",
            "This device joined without the certificate by which your organization recognizes it.",
        ),
        Why::CertificateExpired => (
            "Its certificate has expired",
            "The certificate by which your organization recognizes this device is no longer valid.",
        ),
        Why::Ambiguous => (
            "It cannot be told apart from another device",
            "Several registered devices look like this one, so none of them can be trusted here.",
        ),
        Why::Stale => {
            ("What is known about it is too old", "There has been no news about this device for a long time.")
        }
        Why::Unlinked => (
            "Your organization’s network service is not ready",
            "Nothing is wrong with your device: your organization has not finished connecting its device management.",
        ),
        Why::Rule => (
            "Your organization’s rules limit it here",
            "Your device is in order. Its access on this network is limited for another reason, which your IT help \
             can tell.",
        ),
    },
    step: |step| match step {
        Step::OpenPortal => {
            "Open the Company Portal app on this device, or the website below, and sign in with your work account."
        }
        Step::ChooseDevice => {
            "Choose this device. What needs to be changed is listed there, with instructions."
        }
        Step::CheckStatus => "Do what it says, then choose “Check status” (or “Check access”) there.",
        Step::CheckAgain => "Come back to this page and press “Check again”.",
        Step::KeepOn => "Leave the device switched on and connected.",
        Step::Enroll => {
            "Install the Company Portal app from your device’s app store, sign in with your work account, and follow \
             the steps to register this device."
        }
        Step::FixedAddress => {
            "Open this network’s settings on your device, and turn off “Private Wi-Fi address” (or “Random hardware \
             addresses”, “Randomized MAC”)."
        }
        Step::Sync => "Open the Company Portal app, choose this device, and then “Sync” or “Check status”.",
        Step::Reconnect => "Disconnect from this network and connect again.",
        Step::AskHelp => "Ask your organization’s IT help, and show them this page.",
    },
};
