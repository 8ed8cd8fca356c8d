//! How long the texts of a request may be, whichever way it comes: what is longer, or has control characters, is in no
//! packet and no certificate, and the database's indexes would not take it.

use super::{AccessRequest, Certificate, Nas};

/// RADIUS attributes hold 253 octets (RFC 2865 5).
pub const NAME_CHARS_MAX: usize = 253;
pub const SSID_CHARS_MAX: usize = 64;
/// Of distinguished names and URIs.
pub const SUBJECT_CHARS_MAX: usize = 2_048;
/// Entries in a list.
pub const LIST_MAX: usize = 64;
/// An identity provider names up to 200 groups in a token; more are a link to more.
pub const IDP_ROLES_MAX: usize = 256;
pub const IDP_ROLE_CHARS_MAX: usize = 256;

/// A field that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Unfit {
    pub field: &'static str,
    pub why: String,
}

impl AccessRequest {
    /// That every text fits.
    ///
    /// # Errors
    /// Names the first that does not.
    pub fn check_fit(&self) -> Result<(), Unfit> {
        one("ssid", self.ssid.as_ref(), SSID_CHARS_MAX)?;
        one("user_name", self.user_name.as_ref(), NAME_CHARS_MAX)?;
        one("hostname", self.hostname.as_ref(), NAME_CHARS_MAX)?;
        one("ingress_vlan", self.ingress_vlan.as_ref(), NAME_CHARS_MAX)?;
        one("radius_group", self.radius_group.as_ref(), NAME_CHARS_MAX)?;
        one("session_id", self.session_id.as_ref(), NAME_CHARS_MAX)?;
        several("idp_roles", &self.idp_roles, IDP_ROLES_MAX, IDP_ROLE_CHARS_MAX)?;
        several("usermac_labels", &self.usermac_labels, LIST_MAX, NAME_CHARS_MAX)?;
        let Nas { ip: _, identifier, vendor, port_type: _, port_id } = &self.nas;
        one("nas.identifier", identifier.as_ref(), NAME_CHARS_MAX)?;
        one("nas.vendor", vendor.as_ref(), NAME_CHARS_MAX)?;
        one("nas.port_id", port_id.as_ref(), NAME_CHARS_MAX)?;
        self.cert.as_ref().map_or(Ok(()), Certificate::check_fit)
    }
}

impl Certificate {
    fn check_fit(&self) -> Result<(), Unfit> {
        one("cert.cn", self.cn.as_ref(), NAME_CHARS_MAX)?;
        one("cert.subject", self.subject.as_ref(), SUBJECT_CHARS_MAX)?;
        one("cert.issuer", self.issuer.as_ref(), SUBJECT_CHARS_MAX)?;
        one("cert.serial", self.serial.as_ref(), NAME_CHARS_MAX)?;
        one("cert.template", self.template.as_ref(), NAME_CHARS_MAX)?;
        several("cert.san_uri", &self.san_uri, LIST_MAX, SUBJECT_CHARS_MAX)?;
        several("cert.san_dns", &self.san_dns, LIST_MAX, NAME_CHARS_MAX)?;
        several("cert.san_upn", &self.san_upn, LIST_MAX, NAME_CHARS_MAX)?;
        several("cert.san_email", &self.san_email, LIST_MAX, NAME_CHARS_MAX)?;
        several("cert.ekus", &self.ekus, LIST_MAX, NAME_CHARS_MAX)
    }
}

fn several(field: &'static str, texts: &[String], entries_max: usize, chars_max: usize) -> Result<(), Unfit> {
    if texts.len() > entries_max {
        return Err(Unfit { field, why: format!("at most {entries_max} entries") });
    }
    texts.iter().try_for_each(|text| one(field, Some(text), chars_max))
}

fn one(field: &'static str, text: Option<&String>, chars_max: usize) -> Result<(), Unfit> {
    let Some(text) = text else { return Ok(()) };
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(Unfit { field, why: "leave control characters out".to_owned() });
    }
    if text.chars().nth(chars_max).is_some() {
        return Err(Unfit { field, why: format!("at most {chars_max} characters") });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::{EdgeId, SiteId};

    fn full() -> Value {
        let bare = AccessRequest::bare(EdgeId(Uuid::nil()), SiteId(Uuid::nil()));
        let mut full = serde_json::to_value(bare).unwrap();
        for name in ["ssid", "user_name", "hostname", "ingress_vlan", "radius_group", "session_id"] {
            full[name] = json!("a");
        }
        full["idp_roles"] = json!(["a"]);
        full["usermac_labels"] = json!(["a"]);
        full["nas"] = json!({"identifier": "a", "vendor": "a", "port_id": "a"});
        let mut cert = serde_json::to_value(Certificate::default()).unwrap();
        for name in ["cn", "subject", "issuer", "serial", "template"] {
            cert[name] = json!("a");
        }
        for name in ["san_uri", "san_dns", "san_upn", "san_email", "ekus"] {
            cert[name] = json!(["a"]);
        }
        full["cert"] = cert;
        full
    }

    /// Where the texts of a request are, as JSON pointers.
    fn texts(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::String(text) if text == "a" => found.push(at.to_owned()),
            Value::Array(values) => {
                values.iter().enumerate().for_each(|(n, value)| texts(value, &format!("{at}/{n}"), found));
            }
            Value::Object(fields) => {
                fields.iter().for_each(|(name, value)| texts(value, &format!("{at}/{name}"), found));
            }
            _ => {}
        }
    }

    fn check(value: Value) -> Result<(), Unfit> {
        serde_json::from_value::<AccessRequest>(value).unwrap().check_fit()
    }

    #[test]
    fn every_text_is_checked() {
        assert_eq!(check(full()), Ok(()));
        let mut places = Vec::new();
        texts(&full(), "", &mut places);
        assert_eq!(places.len(), 21, "{places:?}");
        for place in places {
            for text in ["a\0b".to_owned(), "a\nb".to_owned(), "x".repeat(SUBJECT_CHARS_MAX + 1)] {
                let mut bad = full();
                *bad.pointer_mut(&place).unwrap() = text.into();
                let Unfit { field, .. } = check(bad).expect_err(&place);
                let named = place.trim_start_matches('/').replace('/', ".");
                assert!(named.starts_with(field), "{place} is told as {field}");
            }
        }
        let mut many = full();
        many["cert"]["san_dns"] = vec!["a"; LIST_MAX + 1].into();
        assert_eq!(check(many).unwrap_err().field, "cert.san_dns");
    }
}
