//! What a decision would see of a device now, and why, in sentences.

use domain::compliance::{self, Compliance, Literal, assess};
use domain::device::{ComplianceState, DeviceFacts};
use domain::resolver::{LookupKey, Match, Outcome};
use domain::snapshot::{LinkFacts, OrgSettings};
use time::OffsetDateTime;

use crate::format;

/// The compliance of a client that matches this device: by the function that decisions use.
pub(super) fn seen(
    device: &DeviceFacts,
    links: &[LinkFacts],
    settings: &OrgSettings,
    now: OffsetDateTime,
) -> Compliance {
    let found =
        Match { outcome: Outcome::Device(device), key: None, mac_mismatch: false, wanted: Vec::new() };
    assess(&found, links, settings, now)
}

/// Why it is what it is, one thought each.
pub(super) fn why(
    device: &DeviceFacts,
    seen: &Compliance,
    links: &[LinkFacts],
    settings: &OrgSettings,
    now: OffsetDateTime,
) -> Vec<String> {
    let mut said = vec![state(device, settings, now)];
    let limit = format::exact_span(settings.stale_after_seconds.into());
    if seen.has(Literal::Stale) {
        let since = format::stamp(compliance::confirmed_at(device, links), now);
        said.push(if seen.has(Literal::NonCompliant) {
            format!(
                "Nothing confirmed the record since {since}, longer than the {limit} of the settings: it is stale. \
                 Age only ever weakens trust, so what was refused stays refused."
            )
        } else {
            format!(
                "Nothing confirmed the record since {since}, longer than the {limit} of the settings: it is stale, \
                 and counts as unknown."
            )
        });
    }
    if let Some(since) = device.missing_since {
        said.push(format!(
            "Syncs do not show it since {}. The record is kept until Microsoft says that it is gone.",
            format::stamp(since, now)
        ));
    }
    if let Some(at) = compliance::next_change(device, links, settings, now) {
        let grace =
            device.compliance == ComplianceState::InGracePeriod && device.grace_expires_at == Some(at);
        let (stamp, age) = (format::stamp(at, now), format::age(at, now));
        said.push(if grace {
            format!("Without any sync, this changes when grace ends: {stamp} ({age}).")
        } else {
            format!("If nothing confirms the record before {stamp} ({age}), it becomes stale.")
        });
    }
    said
}

fn state(device: &DeviceFacts, settings: &OrgSettings, now: OffsetDateTime) -> String {
    match &device.compliance {
        ComplianceState::Compliant => "Intune says compliant.".to_owned(),
        ComplianceState::Noncompliant => "Intune says noncompliant.".to_owned(),
        ComplianceState::Unknown => "It is enrolled, and Intune has not evaluated it yet.".to_owned(),
        ComplianceState::Error => "Intune could not evaluate it: its state is error.".to_owned(),
        ComplianceState::Conflict => {
            "Two of Intune's compliance policies contradict each other on it.".to_owned()
        }
        ComplianceState::ConfigManager => {
            "Configuration Manager evaluates it, and Intune does not know the result.".to_owned()
        }
        ComplianceState::Other(word) => {
            format!("Intune says “{word}”, a state that Gatehouse does not know: it counts as unknown.")
        }
        ComplianceState::InGracePeriod => match device.grace_expires_at {
            Some(end) if end <= now => format!(
                "Intune gave it until {} to get in order. That time is over, so it counts as non-compliant without \
                 waiting for Intune to say so.",
                format::stamp(end, now)
            ),
            end => {
                let until = end.map_or_else(String::new, |end| format!(" until {}", format::stamp(end, now)));
                let counts = if settings.grace_is_compliant {
                    "As in Conditional Access it counts as compliant meanwhile."
                } else {
                    "The organization's settings count that as non-compliant."
                };
                format!("Intune found it out of order and gives it time{until}. {counts}")
            }
        },
    }
}

/// A lookup key in words: its kind and its value.
pub(super) fn key_words(key: &LookupKey) -> (&'static str, String) {
    match key {
        LookupKey::IntuneId(id) => ("Intune id", id.to_string()),
        LookupKey::EntraId(id) => ("Entra id", id.to_string()),
        LookupKey::Serial(serial) => ("serial number", serial.clone()),
        LookupKey::Name(name) => ("name", name.clone()),
        LookupKey::Mac(mac) => ("MAC address", mac.to_string()),
    }
}

/// The kind of key by which a session's decision found its device, for people.
pub(crate) fn match_key_words(word: &str) -> &str {
    match word {
        "san-uri" => "Intune id in the certificate's SAN:URI",
        "certificate-id" => "device id in the certificate",
        "subject-serial" => "serial number in the certificate's subject",
        "device-name" => "device name in the certificate's CN",
        "mac" => "MAC address",
        other => other,
    }
}

/// Which kind of work noticed a change, for people.
pub(crate) fn noticed_words(word: &str) -> &str {
    match word {
        "sweep" => "a full sync",
        "delta" => "Entra's change feed",
        "look" => "a look at the device",
        "enrich" => "a look for missing fields",
        "clock" => "the clock: time alone",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

    fn told(state: &str, change: impl FnOnce(&mut DeviceFacts)) -> String {
        let link = domain::LinkId(Uuid::from_u128(1));
        let mut device =
            DeviceFacts::bare(link, domain::DeviceId(Uuid::from_u128(2)), state.parse().unwrap(), NOW);
        change(&mut device);
        let settings = OrgSettings::default();
        let seen = seen(&device, &[], &settings, NOW);
        why(&device, &seen, &[], &settings, NOW).join(" ")
    }

    #[test]
    fn each_cause_is_told() {
        assert!(told("compliant", |_| ()).contains("becomes stale"));
        assert!(told("compliant", |d| d.fetched_at -= Duration::hours(30)).contains("counts as unknown"));
        assert!(told("noncompliant", |d| d.fetched_at -= Duration::hours(30)).contains("stays refused"));
        let over = told("inGracePeriod", |d| d.grace_expires_at = Some(NOW));
        assert!(over.contains("without waiting for Intune"), "{over}");
        let grace = told("inGracePeriod", |d| d.grace_expires_at = Some(NOW + Duration::hours(2)));
        assert!(grace.contains("changes when grace ends: 20 Nov 14:00:00 UTC (in 2 h)"), "{grace}");
        assert!(told("<b>", |_| ()).contains("“<b>”"));
        assert!(told("compliant", |d| d.missing_since = Some(NOW)).contains("until Microsoft says"));
    }
}
