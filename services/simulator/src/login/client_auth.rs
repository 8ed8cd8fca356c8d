//! Client authentication at the token endpoint: secret in the body, secret by HTTP Basic, or a signed assertion.

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaParameters, UnparsedPublicKey,
};
use axum::http::{HeaderMap, header};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use time::OffsetDateTime;

use super::{aadsts::Aadsts, token::Form};
use crate::{directory::App, fleet::Precision, fleet::timestamp, world::World};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Clocks may differ by this much.
const SKEW_SECONDS: i64 = 300;

/// The app that the request comes from, its credential checked. `audience` is the token endpoint's own URL.
pub fn authenticate(
    world: &World,
    form: &Form,
    headers: &HeaderMap,
    directory: &str,
    audience: &str,
) -> Result<App, Aadsts> {
    let basic = basic(headers)?;
    let client_id = match (form.get("client_id"), &basic) {
        (Some(id), _) => id.to_owned(),
        (None, Some((id, _))) => id.clone(),
        (None, None) => match form.get("client_assertion").and_then(unverified_subject) {
            Some(subject) => subject,
            None => return Err(Aadsts::missing_parameter("client_id")),
        },
    };
    let app = world.app(&client_id).ok_or_else(|| Aadsts::app_not_found(&client_id, directory))?;
    let now = world.clock.login();
    if let Some(assertion) = form.get("client_assertion") {
        if form.get("client_assertion_type") != Some(ASSERTION_TYPE) {
            return Err(Aadsts::missing_parameter("client_assertion_type"));
        }
        check_assertion(&app, assertion, audience, now)?;
    } else if let Some(secret) =
        form.get("client_secret").map(str::to_owned).or(basic.map(|(_, secret)| secret))
    {
        check_secret(&app, &secret, now)?;
    } else {
        return Err(Aadsts::no_credential());
    }
    Ok(app)
}

/// Client id and secret of an Authorization header; both are form-encoded before they are joined
/// (RFC 6749, section 2.3.1).
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, Aadsts> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let decoded = value
        .to_str()
        .ok()
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|value| STANDARD.decode(value.trim()).ok())
        .and_then(|value| String::from_utf8(value).ok());
    let pair = decoded.as_deref().and_then(|pair| pair.split_once(':')).ok_or_else(Aadsts::no_credential)?;
    let decode = |text: &str| {
        percent_decode_str(&text.replace('+', " ")).decode_utf8().map(String::from).unwrap_or_default()
    };
    Ok(Some((decode(pair.0), decode(pair.1))))
}

fn check_secret(app: &App, given: &str, now: OffsetDateTime) -> Result<(), Aadsts> {
    let secret = app
        .secrets
        .iter()
        .find(|secret| secret.value == given)
        .ok_or_else(|| Aadsts::wrong_secret(&app.client_id))?;
    match secret.expires {
        Some(expires) if expires <= now => Err(Aadsts::expired_secret(&app.client_id)),
        _ => Ok(()),
    }
}

fn unverified_subject(assertion: &str) -> Option<String> {
    let claims = assertion.split('.').nth(1)?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    claims["sub"].as_str().map(str::to_owned)
}

/// Checks a `private_key_jwt` in Entra's order: form, key by thumbprint, signature, audience, subject, time.
fn check_assertion(app: &App, jwt: &str, audience: &str, now: OffsetDateTime) -> Result<(), Aadsts> {
    let malformed = || Aadsts::assertion(50_027, "JWT token is invalid or malformed.");
    let (input, signature) = jwt.rsplit_once('.').ok_or_else(malformed)?;
    let (header, claims) = input.split_once('.').ok_or_else(malformed)?;
    let part = |text: &str| -> Option<Value> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok().filter(Value::is_object)
    };
    let header = part(header).ok_or_else(malformed)?;
    let claims = part(claims).ok_or_else(malformed)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed())?;

    let algorithm: &'static RsaParameters = match header["alg"].as_str() {
        Some("PS256") => &RSA_PSS_2048_8192_SHA256,
        Some("RS256") => &RSA_PKCS1_2048_8192_SHA256,
        _ => return Err(malformed()),
    };
    let thumbprint = |name: &str| header[name].as_str().and_then(thumbprint_bytes);
    let (sha256, sha1) = (thumbprint("x5t#S256"), thumbprint("x5t"));
    // Entra goes by the certificate's thumbprint; `kid` alone finds nothing.
    let certificate = app.certificates.iter().find(|certificate| match (&sha256, &sha1) {
        (Some(wanted), _) => certificate.sha256() == *wanted,
        (None, Some(wanted)) => certificate.sha1() == *wanted,
        (None, None) => false,
    });
    let invalid_signature = |reason: &str| {
        Aadsts::assertion(
            700_027,
            format!("Client assertion contains an invalid signature. [Reason - {reason}]"),
        )
    };
    let shown = sha256.or(sha1).map_or_else(|| "none".to_owned(), hex::encode_upper);
    let Some(certificate) = certificate else {
        return Err(invalid_signature(&format!(
            "The key was not found., Thumbprint of key used by client: '{shown}', Please visit the Azure Portal, \
             Graph Explorer or directly use MS Graph to see configured keys for app Id '{}'.",
            app.client_id
        )));
    };
    if now < certificate.not_before || now > certificate.not_after {
        return Err(invalid_signature(&format!(
            "The key used is expired., Thumbprint of key used by client: '{shown}', Found key 'Start={}, End={}'",
            us_date(certificate.not_before),
            us_date(certificate.not_after)
        )));
    }
    let key = certificate.public_key().ok_or_else(|| invalid_signature("The key cannot be used."))?;
    UnparsedPublicKey::new(algorithm, key).verify(input.as_bytes(), &signature).map_err(|_| {
        invalid_signature(&format!(
            "The key was found, but use of the key to verify the signature failed., Thumbprint of key used by \
             client: '{shown}'"
        ))
    })?;

    let text = |name: &str| claims[name].as_str().unwrap_or_default();
    let v1_audience = audience.replacen("/oauth2/v2.0/token", "/oauth2/token", 1);
    if text("iss") != app.client_id || (text("aud") != audience && text("aud") != v1_audience) {
        return Err(Aadsts::assertion(
            700_021,
            format!(
                "Client assertion audience claim does not match Realm issuer, or its issuer is not the \
                 application. Expected audience '{audience}'."
            ),
        ));
    }
    if text("sub") != text("iss") {
        return Err(Aadsts::assertion(50_048, "Subject must match Issuer claim in the client assertion."));
    }
    let instant = |name: &str| claims[name].as_f64().and_then(whole_seconds);
    let expires = instant("exp").ok_or_else(malformed)?;
    let starts = instant("nbf").or_else(|| instant("iat"));
    let seconds = now.unix_timestamp();
    if expires + SKEW_SECONDS < seconds || starts.is_some_and(|starts| starts - SKEW_SECONDS > seconds) {
        let show = |at: i64| {
            OffsetDateTime::from_unix_timestamp(at)
                .map(|at| timestamp(at, Precision::Ticks))
                .unwrap_or_default()
        };
        return Err(Aadsts::assertion(
            700_024,
            format!(
                "Client assertion is not within its valid time range. Current time: {}, assertion valid from \
                 {}, expiry time of assertion {}. Review the documentation at \
                 https://learn.microsoft.com/entra/identity-platform/certificate-credentials .",
                timestamp(now, Precision::Ticks),
                show(starts.unwrap_or_default()),
                show(expires)
            ),
        ));
    }
    Ok(())
}

/// A thumbprint in base64url, or in the standard base64 that some clients in the field send.
fn thumbprint_bytes(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    URL_SAFE_NO_PAD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()
}

fn whole_seconds(seconds: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "bounded by the comparison")]
    (seconds.abs() < 1e12).then_some(seconds as i64)
}

/// `01/31/2026 10:00:00`, as Entra shows the validity of a key.
fn us_date(at: OffsetDateTime) -> String {
    format!(
        "{:02}/{:02}/{} {:02}:{:02}:{:02}",
        u8::from(at.month()),
        at.day(),
        at.year(),
        at.hour(),
        at.minute(),
        at.second()
    )
}
