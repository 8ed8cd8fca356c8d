//! Every key of match labels, in one table: what it sees, how its values are written, and how to help whoever
//! writes them. The editor's form, the check on saving, the engine, lint and `LABELS.md` ([`super::results`]) all read it.

use time::Duration;

use super::decide::Input;
use super::model::{AuthMatch, MatchLabelKey};
use super::value::{Case, Form, Seen};
use crate::compliance::Literal;
use crate::resolver::MatchStrength;

/// Where a key stands in the editor's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Compliance,
    Client,
    Certificate,
    Identity,
    Network,
    /// Needs a matched device.
    Posture,
}

impl Group {
    /// Its heading.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Compliance => "Compliance",
            Self::Client => "Client",
            Self::Certificate => "Certificate",
            Self::Identity => "Identity",
            Self::Network => "Network",
            Self::Posture => "Device posture",
        }
    }
}

/// One key.
#[derive(Debug)]
pub struct KeySpec {
    pub key: MatchLabelKey,
    /// Its name for people.
    pub title: &'static str,
    pub group: Group,
    pub form: Form,
    /// What it compares with.
    pub help: &'static str,
    /// Values that can be saved.
    pub examples: &'static [&'static str],
    /// What to change at the client, where a rule wanted something else of it.
    pub remedy: &'static str,
    look: for<'a> fn(&Input<'a>) -> Seen<'a>,
}

impl MatchLabelKey {
    /// The key's row in the table.
    #[must_use]
    pub fn spec(self) -> &'static KeySpec {
        &KEYS[self as usize]
    }
}

impl KeySpec {
    /// What the key sees of a client.
    #[must_use]
    pub fn see<'a>(&self, input: &Input<'a>) -> Seen<'a> {
        (self.look)(input)
    }

    /// The words to choose from, where they are a closed list; empty where text is typed.
    #[must_use]
    pub fn choices(&self) -> Vec<&'static str> {
        match self.form {
            Form::Compliance => Literal::ALL.iter().map(|v| v.as_str()).collect(),
            Form::Auth => AuthMatch::ALL.iter().map(|v| v.as_str()).collect(),
            Form::Strength => MatchStrength::ALL.iter().map(|v| v.as_str()).collect(),
            Form::Word(words) => words.to_vec(),
            Form::Flag => vec!["true", "false"],
            Form::Text { .. } | Form::Mac | Form::Network | Form::Number { .. } | Form::Version => Vec::new(),
        }
    }

    /// How values are written, in one sentence.
    #[must_use]
    pub fn syntax(&self) -> String {
        match self.form {
            Form::Text { case, max } => {
                let case = match case {
                    Case::Exact => "case matters",
                    Case::Folded => "case does not matter",
                    Case::Hex => "hexadecimal; case, separators and leading zeros do not matter",
                };
                format!("Text of up to {max} bytes; `x*`, `*x` and `*x*` stand for more; {case}.")
            }
            Form::Mac => {
                "A whole MAC address in any usual notation, or how it begins (`aabbcc*`).".to_owned()
            }
            Form::Network => "An address or a network in CIDR notation, IPv4 or IPv6.".to_owned(),
            Form::Number { max } => {
                format!("A whole number from 0 to {max}, alone or behind `>=`, `>`, `<=`, `<` or `=`.")
            }
            Form::Version => {
                "Numbers between dots, compared number by number, alone or behind `>=`, `>`, `<=`, `<` \
                              or `=`; or text with `*` at its ends."
                    .to_owned()
            }
            _ => format!("One of {}; case does not matter.", self.choices().join(", ")),
        }
    }
}

const fn text(max: usize) -> Form {
    Form::Text { case: Case::Exact, max }
}

const fn folded(max: usize) -> Form {
    Form::Text { case: Case::Folded, max }
}

fn maybe(text: Option<&str>) -> Seen<'_> {
    text.map_or(Seen::Nothing, Seen::Text)
}

fn flag(flag: Option<bool>) -> Seen<'static> {
    flag.map_or(Seen::Nothing, Seen::Flag)
}

macro_rules! key {
    ($key:ident, $group:ident, $title:literal, $form:expr, [$($example:literal),+], $help:literal, $remedy:literal, $look:expr) => {
        KeySpec {
            key: MatchLabelKey::$key,
            title: $title,
            group: Group::$group,
            form: $form,
            help: $help,
            examples: &[$($example),+],
            remedy: $remedy,
            look: $look,
        }
    };
}

macro_rules! of_cert {
    ($field:ident) => {
        |input| maybe(input.request.cert.as_ref().and_then(|cert| cert.$field.as_deref()))
    };
}

macro_rules! of_device {
    ($field:ident) => {
        |input| maybe(input.found.device().and_then(|device| device.$field.as_deref()))
    };
}

/// The table, in the order of [`MatchLabelKey::ALL`].
pub static KEYS: [KeySpec; 32] = [
    key!(
        MdmStatus,
        Compliance,
        "MDM compliance",
        Form::Compliance,
        ["compliant", "!unknown"],
        "What Intune says of the matched device. Exactly one of compliant, non-compliant and unknown holds for every client; the other words tell why.",
        "Bring the device into compliance in Intune (Company Portal, “Check status”), then wait for the next sync.",
        |input| Seen::Literals(&input.compliance.literals)
    ),
    key!(
        AuthType,
        Client,
        "Authentication",
        Form::Auth,
        ["eap-tls", "cert", "!mab"],
        "How the client authenticated. `cert` is any method that presented a client certificate, `idp` EAP-TTLS or EAP-PEAP without one.",
        "Change the authentication method in the client's Wi-Fi, wired or VPN profile.",
        |input| input.request.auth_type.map_or(Seen::Nothing, |method| Seen::Method {
            method,
            certificate: input.request.cert.is_some(),
        })
    ),
    key!(
        Ssid,
        Network,
        "SSID",
        text(32),
        ["Corp", "Corp*", "!*guest*"],
        "The wireless network's name. Absent on switch ports and VPNs.",
        "Join another network.",
        |input| maybe(input.request.ssid.as_deref())
    ),
    key!(
        UserName,
        Identity,
        "User name",
        text(253),
        ["host/*", "ada@example.com", "*@example.com"],
        "User-Name as the edge sent it.",
        "Sign in with another account, or change the identity in the client's profile.",
        |input| maybe(input.request.user_name.as_deref())
    ),
    key!(
        Realm,
        Identity,
        "Realm",
        folded(253),
        ["example.com", "*.example.com"],
        "What stands in the user name behind its last @, or before its first backslash.",
        "Sign in with an account of that realm.",
        |input| maybe(input.request.realm_as_sent())
    ),
    key!(
        ClientMac,
        Client,
        "Client MAC",
        Form::Mac,
        ["d4:6e:0e:02:28:96", "d46e0e*"],
        "Calling-Station-Id. A MAC address proves nothing: whoever copies it gets what it gets.",
        "Add the client's MAC address to the label.",
        |input| input.request.mac.map_or(Seen::Nothing, Seen::Mac)
    ),
    key!(
        UsermacLabel,
        Client,
        "Endpoint label",
        text(64),
        ["printer", "camera*"],
        "The labels that the organization's endpoint list gives to the MAC. A client may have several.",
        "Give the client's MAC address the label in the endpoint list.",
        |input| Seen::Texts(&input.request.usermac_labels)
    ),
    key!(
        Hostname,
        Client,
        "Host name",
        folded(253),
        ["lobby-tv-*", "kiosk01"],
        "What the client calls itself, where the edge knows it. It proves nothing.",
        "Rename the client.",
        |input| maybe(input.request.hostname.as_deref())
    ),
    key!(
        CertCn,
        Certificate,
        "Certificate CN",
        text(253),
        ["*.example.com", "LAPTOP-*"],
        "The common name of the client certificate's subject.",
        "Give the device a certificate with that name: check its SCEP or PKCS profile in Intune.",
        of_cert!(cn)
    ),
    key!(
        CertIssuer,
        Certificate,
        "Certificate issuer",
        text(1_024),
        ["*CN=Example Issuing CA*"],
        "The issuer's distinguished name, as the edge writes it (`/C=…/CN=…` or `CN=…,O=…`).",
        "Give the device a certificate of that issuer: check its SCEP or PKCS profile in Intune.",
        of_cert!(issuer)
    ),
    key!(
        CertSan,
        Certificate,
        "Certificate SAN",
        text(1_024),
        ["*@example.com", "*ID:Microsoft Endpoint Manager*"],
        "Every subject alternative name: URI, DNS, UPN and e-mail.",
        "Give the device a certificate that bears it: check its SCEP or PKCS profile in Intune.",
        |input| input.request.cert.as_ref().map_or(Seen::Nothing, Seen::Sans)
    ),
    key!(
        CertSerial,
        Certificate,
        "Certificate serial",
        Form::Text { case: Case::Hex, max: 128 },
        ["3a:f1:00:9c", "3af1*"],
        "The certificate's own serial number.",
        "Give the device the certificate with that serial number.",
        of_cert!(serial)
    ),
    key!(
        CertSub,
        Certificate,
        "Certificate subject",
        text(1_024),
        ["*/O=Example/*", "*OU=Kiosk*"],
        "The subject's distinguished name, as the edge writes it (`/C=…/CN=…` or `CN=…,O=…`).",
        "Give the device a certificate with that subject: check its SCEP or PKCS profile in Intune.",
        of_cert!(subject)
    ),
    key!(
        CertEku,
        Certificate,
        "Certificate key usage",
        text(128),
        ["1.3.6.1.5.5.7.3.2", "1.3.6.1.4.1.311.*"],
        "The OIDs of the certificate's extended key usages. A certificate may have several.",
        "Give the device a certificate with that key usage: check its SCEP or PKCS profile in Intune.",
        |input| input.request.cert.as_ref().map_or(Seen::Nothing, |cert| Seen::Texts(&cert.ekus))
    ),
    key!(
        CertTemplate,
        Certificate,
        "Certificate template",
        text(128),
        ["1.3.6.1.4.1.311.21.8.1234567.*"],
        "The OID of the AD CS template that the certificate was issued from.",
        "Give the device a certificate of that template.",
        of_cert!(template)
    ),
    key!(
        NasIp,
        Network,
        "NAS address",
        Form::Network,
        ["10.20.0.0/16", "2001:db8::/32", "!10.20.30.40"],
        "NAS-IP-Address or NAS-IPv6-Address. IPv4 inside IPv6 is compared as IPv4.",
        "Connect at another switch, access point or gateway.",
        |input| input.request.nas.ip.map_or(Seen::Nothing, Seen::Address)
    ),
    key!(
        IngressVlan,
        Network,
        "Ingress VLAN",
        text(64),
        ["30", "guest*"],
        "The VLAN, id or name, that the client is in or came from, where the edge says so.",
        "Connect at a port of that VLAN.",
        |input| maybe(input.request.ingress_vlan.as_deref())
    ),
    key!(
        RadiusGroup,
        Identity,
        "RADIUS group",
        text(253),
        ["employees", "contractor-*"],
        "The role that an upstream server gave (Filter-Id).",
        "Put the user into that group.",
        |input| maybe(input.request.radius_group.as_deref())
    ),
    key!(
        GbpTag,
        Network,
        "GBP tag",
        Form::Number { max: 65_535 },
        ["100", ">=1000"],
        "The tag of the group-based policy that the client came with.",
        "Give the client that tag where it enters the network.",
        |input| input.request.gbp_tag.map_or(Seen::Nothing, |tag| Seen::Number(tag.into()))
    ),
    key!(
        IdpRole,
        Identity,
        "Identity provider role",
        text(256),
        ["staff", "grp-net-*"],
        "The user's groups or roles, from the identity provider. A user may have several.",
        "Put the user into that group at the identity provider.",
        |input| Seen::Texts(&input.request.idp_roles)
    ),
    key!(
        MatchStrength,
        Compliance,
        "Match strength",
        Form::Strength,
        ["certificate", "!mac"],
        "What tied the client to its device: a certificate, a device name, or only a MAC address. Absent where no device matched.",
        "Give the device a certificate that names it: check its SCEP or PKCS profile in Intune.",
        |input| input.found.strength().map_or(Seen::Nothing, Seen::Strength)
    ),
    key!(
        Os,
        Posture,
        "Operating system",
        folded(64),
        ["Windows", "iOS", "Android*"],
        "`operatingSystem` of the matched device, in Intune's words: Windows, macOS, iOS, Android, Linux, ….",
        "Use a device with that operating system.",
        of_device!(os)
    ),
    key!(
        OsVersion,
        Posture,
        "OS version",
        Form::Version,
        [">=10.0.22631", "<17.5", "10.0.19045*"],
        "`osVersion` of the matched device. A version that begins with no number only matches text with `*`.",
        "Update the device; the next sync brings its version here.",
        of_device!(os_version)
    ),
    key!(
        Owner,
        Posture,
        "Owner",
        Form::Word(&["company", "personal", "unknown"]),
        ["company", "!personal"],
        "`managedDeviceOwnerType` of the matched device.",
        "Change the device's ownership in Intune.",
        of_device!(owner)
    ),
    key!(
        Encrypted,
        Posture,
        "Encrypted",
        Form::Flag,
        ["true", "false"],
        "Whether Intune reports the matched device's storage as encrypted. Absent where it does not say.",
        "Turn on BitLocker, FileVault or the like; the next sync brings it here.",
        |input| flag(input.found.device().and_then(|device| device.encrypted))
    ),
    key!(
        Jailbroken,
        Posture,
        "Jailbroken",
        Form::Flag,
        ["false", "!true"],
        "Whether Intune reports the matched device as jailbroken or rooted. Absent where it does not say.",
        "Restore the device's original system.",
        |input| flag(input.found.device().and_then(|device| device.jailbroken))
    ),
    key!(
        ThreatState,
        Posture,
        "Threat state",
        folded(64),
        ["secured", "!*Severity", "compromised"],
        "`partnerReportedThreatState` of the matched device: secured, lowSeverity, mediumSeverity, highSeverity, compromised, unresponsive, activated, deactivated, misconfigured, unknown.",
        "Clear the threat in the device's Mobile Threat Defense app.",
        of_device!(threat_state)
    ),
    key!(
        DeviceCategory,
        Posture,
        "Device category",
        text(128),
        ["Kiosk", "Warehouse*"],
        "The category that Intune's admins gave the matched device.",
        "Change the device's category in Intune.",
        of_device!(category)
    ),
    key!(
        Manufacturer,
        Posture,
        "Manufacturer",
        text(128),
        ["Apple", "Dell*"],
        "The matched device's manufacturer, as it reports it.",
        "Use a device of that manufacturer.",
        of_device!(manufacturer)
    ),
    key!(
        Model,
        Posture,
        "Model",
        text(128),
        ["iPad*", "Latitude 7450"],
        "The matched device's model, as it reports it.",
        "Use a device of that model.",
        of_device!(model)
    ),
    key!(
        LastCheckInDays,
        Posture,
        "Days since check-in",
        Form::Number { max: 3_650 },
        ["<=7", ">30"],
        "Whole days since the matched device last contacted Intune. Absent where it never did.",
        "Let the device contact Intune (Company Portal, “Check status”); the next sync brings it here.",
        days_since_check_in
    ),
    key!(
        RandomMac,
        Client,
        "Randomized MAC",
        Form::Flag,
        ["true", "false"],
        "Whether the client's MAC address is locally administered, as randomized ones are.",
        "Turn MAC address randomization off for this network in the client's profile.",
        |input| flag(input.request.mac.map(crate::Mac::is_locally_administered))
    ),
];

fn days_since_check_in<'a>(input: &Input<'a>) -> Seen<'a> {
    let last = input.found.device().and_then(|device| device.last_check_in);
    last.map_or(Seen::Nothing, |at| {
        let days = (input.now - at).max(Duration::ZERO).whole_days();
        Seen::Number(u32::try_from(days).unwrap_or(u32::MAX))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::value::ValueMatch;

    #[test]
    fn the_table_has_every_key_in_order_and_its_examples_can_be_saved() {
        let keys: Vec<_> = KEYS.iter().map(|spec| spec.key).collect();
        assert_eq!(keys, MatchLabelKey::ALL);
        for spec in &KEYS {
            for value in spec.examples.iter().copied().chain(spec.choices()) {
                let parsed = ValueMatch::parse(spec.form, value);
                assert!(parsed.is_ok(), "{}: {value}: {parsed:?}", spec.key);
            }
        }
    }
}
