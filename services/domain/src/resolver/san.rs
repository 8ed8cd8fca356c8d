//! Reading device identifiers out of certificate names that their holder may have had a hand in.
//!
//! Some edges join a certificate's names into one text, and a name may itself hold the separator: a URI of
//! `http://x/, URI:ID:Microsoft Endpoint Manager:GUID:<victim>` would read as two. So a text counts as a list only
//! where every piece of it is of a form that cannot hold a separator (an Intune id, a strong-mapping SID); any
//! other text is one opaque value, and names no device.

use uuid::Uuid;

/// The forms in which Intune's device id stands in a SAN:URI.
const INTUNE_PREFIXES: [&str; 3] =
    ["ID:Microsoft Endpoint Manager:GUID:", "ID:Intune:GUID:", "IntuneDeviceId://"];
/// Microsoft's strong mapping of certificates (KB5014754); often beside the device id.
const SID_PREFIX: &str = "tag:microsoft.com,2022-09-14:sid:";

/// The Intune device ids that one SAN:URI value, or a joined list of them, names.
#[must_use]
pub fn intune_ids(text: &str) -> Vec<Uuid> {
    let mut ids = Vec::new();
    let mut rest = text.trim();
    loop {
        rest = strip_prefix_ignore_case(rest, "URI:").unwrap_or(rest);
        let after = if let Some((id, after)) = read_intune(rest) {
            ids.push(id);
            after
        } else if let Some(after) = read_sid(rest) {
            after
        } else {
            return Vec::new();
        };
        if after.trim().is_empty() {
            return ids;
        }
        match after.strip_prefix(',') {
            Some(next) => rest = next.trim_start(),
            None => return Vec::new(),
        }
    }
}

/// The URIs in the one text that FreeRADIUS before 3.2.7 makes of all names of a certificate (OpenSSL's
/// `DNS:a.example, URI:…, othername: UPN::…`), given the DNS names, mail addresses and principal names that it also
/// tells one by one.
///
/// A name may hold the separator. So each piece must either be one of the names known alone, in their order, or a URI
/// of a form that cannot hold it; where any piece is neither, the text yields nothing.
#[must_use]
pub fn uris_of_joined_names(text: &str, dns: &[String], email: &[String], upn: &[String]) -> Vec<String> {
    let mut known = [("DNS:", dns.iter()), ("email:", email.iter()), ("othername: UPN::", upn.iter())];
    let mut uris = Vec::new();
    let mut rest = text.trim();
    loop {
        let after = if let Some(uri) = rest.strip_prefix("URI:") {
            let Some(after) = read_intune(uri).map(|(_, after)| after).or_else(|| read_sid(uri)) else {
                return Vec::new();
            };
            uris.push(uri[..uri.len() - after.len()].to_owned());
            Some(after)
        } else {
            let named = known.iter_mut().find_map(|(kind, names)| Some((rest.strip_prefix(*kind)?, names)));
            named.and_then(|(value, names)| value.strip_prefix(names.next()?.as_str()))
        };
        match after {
            Some("") => return uris,
            Some(after) => match after.strip_prefix(", ") {
                Some(next) => rest = next,
                None => return Vec::new(),
            },
            None => return Vec::new(),
        }
    }
}

/// A GUID that stands alone, as Graph writes ids: 8-4-4-4-12. The all-zero one names nobody.
pub fn device_guid(text: &str) -> Option<Uuid> {
    let text = text.trim();
    let id = (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()?;
    (!id.is_nil()).then_some(id)
}

fn read_intune(text: &str) -> Option<(Uuid, &str)> {
    let rest = INTUNE_PREFIXES.iter().find_map(|prefix| strip_prefix_ignore_case(text, prefix))?;
    let id = device_guid(rest.get(..36)?)?;
    Some((id, &rest[36..]))
}

fn read_sid(text: &str) -> Option<&str> {
    let rest = strip_prefix_ignore_case(text, SID_PREFIX)?;
    let rest = rest.strip_prefix("S-")?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(rest.len());
    (end > 0).then(|| &rest[end..])
}

fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

/// The serialNumber of a distinguished name, in OpenSSL's one-line form (`/C=US/serialNumber=X/CN=Y`, a slash in
/// a value written `\/`) or RFC 4514's (`CN=Y,serialNumber=X`, a comma in a value written `\,`). `None` where
/// there is none, or more than one: a value that smuggles in a second one must not be believed.
#[must_use]
pub fn subject_serial(subject: &str) -> Option<String> {
    let subject = subject.trim();
    let (separators, body): (&[char], _) = match subject.strip_prefix('/') {
        Some(body) => (&['/'], body),
        None => (&[',', '+'], subject),
    };
    let mut found = None;
    for piece in split_escaped(body, separators) {
        let Some((kind, value)) = piece.split_once('=') else { continue };
        let kind = kind.trim();
        let is_serial =
            ["serialNumber", "2.5.4.5", "OID.2.5.4.5"].iter().any(|k| kind.eq_ignore_ascii_case(k));
        let value = value.trim();
        // Intune writes "" and "0" for devices without one.
        if is_serial && !value.is_empty() && value != "0" {
            if found.is_some() {
                return None;
            }
            found = Some(value.to_owned());
        }
    }
    found
}

/// Splits at separators that no backslash or double quote protects, and takes the protection off.
fn split_escaped(text: &str, separators: &[char]) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let last = pieces.len() - 1;
        match c {
            '\\' => pieces[last].extend(chars.next()),
            '"' => quoted = !quoted,
            c if !quoted && separators.contains(&c) => pieces.push(String::new()),
            c => pieces[last].push(c),
        }
    }
    pieces
}
