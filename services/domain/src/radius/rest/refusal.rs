//! From a packet that a FreeRADIUS has refused by itself to what its admin may read: who was refused, where, and why.
//!
//! Why is told by the server's own messages (`Module-Failure-Message`), in the words of 3.2. They are for people and
//! may change, so all of them are kept; what cannot be told from them is `unknown`.

use serde_json::json;
use time::format_description::well_known::Rfc3339;

use super::request::{auth_type, certificate, nas, ssid};
use super::{Attributes, mac};
use crate::Mac;
use crate::event::EventKind;
use crate::request::{AuthType, Certificate, Nas, words};

/// Messages that are kept, and the characters of each.
const MESSAGES_MAX: usize = 12;
const MESSAGE_CHARS_MAX: usize = 300;

/// Why an edge refused a client before it asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCause {
    CertificateExpired,
    CertificateNotYetValid,
    CertificateRevoked,
    /// Of another authority than the edge believes.
    CertificateIssuerUnknown,
    CertificateMissing,
    /// Some other fault of it.
    CertificateRefused,
    /// The client does not believe the edge's certificate.
    ServerCertificateRefused,
    WrongPassword,
    /// The edge has no password to hold the client's against.
    UserUnknown,
    /// The client wants an EAP method that the edge does not offer.
    MethodNotOffered,
    /// MAC authentication under another name than the station's MAC.
    NameIsNotTheMac,
    Unknown,
}

words!(RefusalCause, "cause of a refusal",
    RefusalCause::CertificateExpired => "certificate_expired",
    RefusalCause::CertificateNotYetValid => "certificate_not_yet_valid",
    RefusalCause::CertificateRevoked => "certificate_revoked",
    RefusalCause::CertificateIssuerUnknown => "certificate_issuer_unknown",
    RefusalCause::CertificateMissing => "certificate_missing",
    RefusalCause::CertificateRefused => "certificate_refused",
    RefusalCause::ServerCertificateRefused => "server_certificate_refused",
    RefusalCause::WrongPassword => "wrong_password",
    RefusalCause::UserUnknown => "user_unknown",
    RefusalCause::MethodNotOffered => "method_not_offered",
    RefusalCause::NameIsNotTheMac => "name_is_not_the_mac",
    RefusalCause::Unknown => "unknown",
);

impl RefusalCause {
    /// Which line of history tells it.
    #[must_use]
    pub const fn kind(self) -> EventKind {
        match self {
            Self::CertificateExpired => EventKind::NacClientCertExpired,
            Self::CertificateNotYetValid
            | Self::CertificateRevoked
            | Self::CertificateIssuerUnknown
            | Self::CertificateMissing
            | Self::CertificateRefused => EventKind::NacClientCertCheckFailure,
            Self::ServerCertificateRefused => EventKind::NacServerCertValidationFailure,
            Self::WrongPassword | Self::UserUnknown => EventKind::NacIdpAuthcFailure,
            Self::MethodNotOffered | Self::NameIsNotTheMac | Self::Unknown => EventKind::NacClientAuthFailure,
        }
    }

    /// For people: what happened, and what to do about it.
    #[must_use]
    pub const fn explain(self) -> (&'static str, &'static str) {
        match self {
            Self::CertificateExpired => (
                "the client certificate has expired",
                "See why the device did not renew its certificate: its SCEP or PKCS profile, and whether it checks in.",
            ),
            Self::CertificateNotYetValid => (
                "the client certificate is not valid yet",
                "Compare the clocks of the edge and of the authority that issued it.",
            ),
            Self::CertificateRevoked => {
                ("the client certificate is revoked", "Issue another one, if the device is to come back.")
            }
            Self::CertificateIssuerUnknown => (
                "the client certificate is of an authority that the edge does not know",
                "Where it is one of yours, add the authority, with those between it and its root, to clients-ca.pem.",
            ),
            Self::CertificateMissing => (
                "the client showed no certificate",
                "Give the device a certificate, or another Wi-Fi profile.",
            ),
            Self::CertificateRefused => {
                ("the client certificate does not hold", "See what the edge said of it, below.")
            }
            Self::ServerCertificateRefused => (
                "the client does not trust the edge’s own certificate",
                "Deploy the authority of the edge's server.pem, and its name, with the device's network profile.",
            ),
            Self::WrongPassword => {
                ("the password is wrong", "The person has to type it again, or to change it.")
            }
            Self::UserUnknown => (
                "the edge knows no password for that name",
                "Check the name, and the edge's users or directory.",
            ),
            Self::MethodNotOffered => (
                "the client wants an EAP method that the edge does not offer",
                "Set the device's network profile to EAP-TLS or EAP-TTLS with PAP.",
            ),
            Self::NameIsNotTheMac => (
                "MAC authentication under a name that is not the station’s MAC",
                "Set the switch to send the MAC as the name; or somebody tried another device's MAC.",
            ),
            Self::Unknown => ("the edge did not say why", "See the log of the edge's RADIUS server."),
        }
    }

    /// `said`: the server's messages; `reason`: the policy's own word.
    fn of(said: &[String], reason: Option<&str>) -> Self {
        if reason == Some(Self::NameIsNotTheMac.as_str()) {
            return Self::NameIsNotTheMac;
        }
        let said: Vec<String> = said.iter().map(|message| message.to_lowercase()).collect();
        let any = |words: &[&str]| said.iter().any(|text| words.iter().any(|word| text.contains(word)));
        // An alert that was read is the client's: it broke the handshake off.
        let alert = |text: &String| {
            let told = ["unknown ca", "certificate", "access denied", "decrypt error"];
            text.contains("alert read") && told.iter().any(|word| text.contains(word))
        };
        if said.iter().any(alert) {
            Self::ServerCertificateRefused
        } else if any(&["certificate has expired", "certificate expired"]) {
            Self::CertificateExpired
        } else if any(&["not yet valid"]) {
            Self::CertificateNotYetValid
        } else if any(&["certificate revoked"]) {
            Self::CertificateRevoked
        } else if any(&[
            "issuer certificate",
            "self-signed",
            "self signed",
            "first certificate",
            "unknown ca",
        ]) {
            Self::CertificateIssuerUnknown
        } else if any(&["did not return a certificate"]) {
            Self::CertificateMissing
        } else if any(&["certificate verify failed", "openssl says error", "certificate failed"]) {
            Self::CertificateRefused
        } else if any(&["password does not match", "password comparison failed", "is incorrect"]) {
            Self::WrongPassword
        } else if any(&["no auth-type found", "no password configured", "no \"known good\" password"]) {
            Self::UserUnknown
        } else if any(&["unsupported eap type", "no mutually acceptable types"]) {
            Self::MethodNotOffered
        } else {
            Self::Unknown
        }
    }
}

/// What was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub cause: RefusalCause,
    pub mac: Option<Mac>,
    pub auth_type: Option<AuthType>,
    pub ssid: Option<String>,
    pub nas: Nas,
    /// What the client called itself; nobody vouches for it.
    pub claimed_name: Option<String>,
    /// As the client showed it; nobody vouches for it.
    pub cert: Option<Certificate>,
    /// The server's messages.
    pub said: Vec<String>,
}

/// Reads a refusal. Never fails: what cannot be read is left out.
#[must_use]
pub fn read(attributes: &Attributes) -> Refusal {
    let said: Vec<String> = attributes
        .all("Module-Failure-Message")
        .iter()
        .take(MESSAGES_MAX)
        .map(|message| message.chars().take(MESSAGE_CHARS_MAX).collect())
        .collect();
    let mac = mac(attributes);
    // A handshake that broke off names its method in the messages alone.
    let named = || {
        let says = |method: &str| said.iter().any(|message| message.contains(method));
        let methods = [("TTLS (21)", AuthType::EapTtls), ("TLS (13)", AuthType::EapTls)];
        methods.into_iter().find(|(method, _)| says(method)).map(|(_, auth_type)| auth_type)
    };
    let claimed = attributes.first("Gatehouse-Claimed-Name").or_else(|| attributes.first("User-Name"));
    Refusal {
        cause: RefusalCause::of(&said, attributes.first("Gatehouse-Reason")),
        mac,
        auth_type: named().or_else(|| auth_type(attributes, mac)),
        ssid: ssid(attributes),
        nas: nas(attributes),
        claimed_name: claimed.map(str::to_owned),
        cert: certificate(attributes),
        said,
    }
}

impl Refusal {
    /// In one sentence, for lists.
    #[must_use]
    pub fn summary(&self) -> String {
        let whose = self.cert.as_ref().and_then(|cert| cert.cn.as_deref());
        let whose = whose.or(self.claimed_name.as_deref()).map(|name| format!(" (“{name}”)"));
        format!("Refused by the edge: {}{}", self.cause.explain().0, whose.unwrap_or_default())
    }

    /// What there is to say besides.
    #[must_use]
    pub fn detail(&self) -> serde_json::Value {
        let cert = self.cert.as_ref().map(|cert| {
            json!({
                "cn": cert.cn,
                "subject": cert.subject,
                "issuer": cert.issuer,
                "serial": cert.serial,
                "not_after": cert.not_after.and_then(|end| end.format(&Rfc3339).ok()),
            })
        });
        json!({
            "cause": self.cause.as_str(),
            "what_to_do": self.cause.explain().1,
            "auth_type": self.auth_type,
            "claimed_name": self.claimed_name,
            "ssid": self.ssid,
            "nas": self.nas,
            "cert": cert,
            "said": self.said,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn refused(body: Value) -> Refusal {
        let Value::Object(body) = body else { panic!("an object") };
        read(&Attributes::read(&body).unwrap())
    }

    fn cause(said: &[&str]) -> RefusalCause {
        refused(json!({"Module-Failure-Message": {"type": "string", "value": said}})).cause
    }

    #[test]
    fn the_servers_words_say_why() {
        let failed = "eap: Failed continuing EAP TLS (13) session. EAP sub-module failed";
        for (said, wanted) in [
            (
                "eap_tls: (TLS) OpenSSL says error 10 : certificate has expired",
                RefusalCause::CertificateExpired,
            ),
            (
                "eap_tls: (TLS) OpenSSL says error 20 : unable to get local issuer certificate",
                RefusalCause::CertificateIssuerUnknown,
            ),
            (
                "eap_tls: (TLS) OpenSSL says error 19 : self-signed certificate in certificate chain",
                RefusalCause::CertificateIssuerUnknown,
            ),
            ("eap_tls: (TLS) OpenSSL says error 23 : certificate revoked", RefusalCause::CertificateRevoked),
            (
                "eap_tls: (TLS) OpenSSL says error 9 : certificate is not yet valid",
                RefusalCause::CertificateNotYetValid,
            ),
            (
                "eap_tls: (TLS) OpenSSL says error 26 : unsupported certificate purpose",
                RefusalCause::CertificateRefused,
            ),
            (
                "eap_tls: (TLS) error:0A0000C7:SSL routines::peer did not return a certificate",
                RefusalCause::CertificateMissing,
            ),
            ("eap_tls: (TLS) Alert read:fatal:unknown CA", RefusalCause::ServerCertificateRefused),
            ("eap_tls: (TLS) Alert write:fatal:unknown CA", RefusalCause::CertificateIssuerUnknown),
            ("pap: Cleartext password does not match \"known good\" password", RefusalCause::WrongPassword),
            ("No Auth-Type found: rejecting the user via Post-Auth-Type = Reject", RefusalCause::UserUnknown),
            (
                "eap: Peer NAK'd asking for unsupported EAP type PEAP (25), skipping...",
                RefusalCause::MethodNotOffered,
            ),
            ("something else", RefusalCause::Unknown),
        ] {
            assert_eq!(cause(&[said, failed]), wanted, "{said}");
            assert_eq!(cause(&[failed, said]), wanted, "{said}");
        }
        assert_eq!(cause(&[]), RefusalCause::Unknown);
    }

    #[test]
    fn every_cause_has_words_and_a_kind_that_can_be_searched_for() {
        for cause in RefusalCause::ALL {
            let (what, remedy) = cause.explain();
            assert!(!what.is_empty() && !what.ends_with('.') && remedy.ends_with('.'), "{cause}");
            assert!(EventKind::written().any(|kind| kind == cause.kind()), "{cause}");
        }
    }

    #[test]
    fn a_refusal_is_read_whole_and_half_a_certificate_spoils_nothing() {
        let refusal = refused(json!({
            "User-Name": "host/LAPTOP-0001", "Calling-Station-Id": "D4-6E-0E-02-28-96",
            "Called-Station-Id": "5C-5B-35-00-00-01:corp", "NAS-Port-Id": "ge-0/0/7", "EAP-Message": "0x02",
            "TLS-Client-Cert-Common-Name": "LAPTOP-0001", "TLS-Client-Cert-Serial": "4d",
            "TLS-Client-Cert-Expiration": "250101000000Z", "TLS-Client-Cert-Issuer": "\u{0}",
            "Module-Failure-Message": ["eap_tls: (TLS) OpenSSL says error 10 : certificate has expired",
                "eap: Failed continuing EAP TLS (13) session. EAP sub-module failed"],
        }));
        assert_eq!(refusal.auth_type, Some(AuthType::EapTls));
        assert_eq!(
            (refusal.ssid.as_deref(), refusal.nas.port_id.as_deref()),
            (Some("corp"), Some("ge-0/0/7"))
        );
        assert_eq!(
            refusal.summary(),
            "Refused by the edge: the client certificate has expired (“LAPTOP-0001”)"
        );
        let detail = refusal.detail();
        assert_eq!(detail["cert"]["not_after"], "2025-01-01T00:00:00Z");
        assert_eq!((&detail["cert"]["serial"], &detail["cert"]["issuer"]), (&json!("4d"), &json!(null)));
        assert_eq!(detail["said"].as_array().unwrap().len(), 2);
        let name = refused(json!({"User-Name": "anonymous", "Gatehouse-Claimed-Name": "alex"}));
        assert_eq!(name.claimed_name.as_deref(), Some("alex"));
        let mab = json!({"User-Name": "0", "Service-Type": "Call-Check", "Gatehouse-Reason": "name_is_not_the_mac"});
        assert_eq!(refused(mab.clone()).cause, RefusalCause::NameIsNotTheMac);
        assert_eq!(refused(mab).auth_type, Some(AuthType::Mab));
    }
}
