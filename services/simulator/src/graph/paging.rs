//! Page tokens: opaque, bound to tenant and collection, and good for a while only.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::world::World;

#[derive(Debug, Serialize, Deserialize)]
struct Envelope<T> {
    /// Collection and purpose, so that a token of one is none of another.
    k: String,
    t: Uuid,
    /// Unix seconds of issue.
    i: i64,
    p: T,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    Invalid,
    Expired,
}

/// Seals `position` for `tenant`.
pub fn seal<T: Serialize>(world: &World, kind: &str, tenant: Uuid, position: T) -> String {
    let envelope =
        Envelope { k: kind.to_owned(), t: tenant, i: world.clock.fleet().unix_timestamp(), p: position };
    let payload = serde_json::to_vec(&envelope).unwrap_or_default();
    let tag = hmac::sign(&world.page_key, &payload);
    let mut bytes = tag.as_ref()[..16].to_vec();
    bytes.extend(payload.iter().zip(tag.as_ref()[..16].iter().cycle()).map(|(byte, mask)| byte ^ mask));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Opens what [`seal`] made, if it is not older than `lifetime`.
pub fn open<T: DeserializeOwned>(
    world: &World,
    kind: &str,
    tenant: Uuid,
    token: &str,
    lifetime: Duration,
) -> Result<T, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| TokenError::Invalid)?;
    let (tag, masked) = bytes.split_at_checked(16).ok_or(TokenError::Invalid)?;
    let payload: Vec<u8> = masked.iter().zip(tag.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    if hmac::sign(&world.page_key, &payload).as_ref()[..16] != *tag {
        return Err(TokenError::Invalid);
    }
    let envelope: Envelope<T> = serde_json::from_slice(&payload).map_err(|_| TokenError::Invalid)?;
    if envelope.k != kind || envelope.t != tenant {
        return Err(TokenError::Invalid);
    }
    let issued = OffsetDateTime::from_unix_timestamp(envelope.i).map_err(|_| TokenError::Invalid)?;
    if world.clock.fleet() - issued > lifetime {
        return Err(TokenError::Expired);
    }
    Ok(envelope.p)
}

/// A link to the next page: `path` under the public base, the options repeated, the token last.
#[must_use]
pub fn link(world: &World, path: &str, options: &[(&str, &str)], token: (&str, &str)) -> String {
    use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
    const QUERY: &AsciiSet = &CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'#')
        .add(b'<')
        .add(b'>')
        .add(b'&')
        .add(b'+')
        .add(b'\'')
        .add(b'%')
        .add(b'=');
    let mut url = format!("{}/v1.0{path}?", world.public_url);
    for (name, value) in options.iter().chain([&token]) {
        if !url.ends_with('?') {
            url.push('&');
        }
        url.push_str(name);
        url.push('=');
        url.extend(utf8_percent_encode(value, QUERY));
    }
    url
}
