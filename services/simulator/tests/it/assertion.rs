use aws_lc_rs::{
    digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest},
    encoding::AsDer as _,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaSignatureEncoding},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::support::{CLIENT, CONTOSO, Sim, start};

struct Credential {
    key: RsaKeyPair,
    der: Vec<u8>,
}

impl Credential {
    fn generate(not_before: OffsetDateTime, not_after: OffsetDateTime) -> Self {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let pkcs8 = key.as_der().unwrap().as_ref().to_vec();
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (not_before, not_after);
        let certificate = params.self_signed(&KeyPair::try_from(pkcs8.as_slice()).unwrap()).unwrap();
        Self { key, der: certificate.der().to_vec() }
    }

    fn sign(&self, padding: &'static RsaSignatureEncoding, header: &Value, claims: &Value) -> String {
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let input = format!("{}.{}", encode(header), encode(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(padding, &SystemRandom::new(), input.as_bytes(), &mut signature).unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn ps256(&self, claims: &Value) -> String {
        let header = json!({"alg": "PS256", "typ": "JWT",
            "x5t#S256": URL_SAFE_NO_PAD.encode(digest(&SHA256, &self.der))});
        self.sign(&RSA_PSS_SHA256, &header, claims)
    }
}

/// The simulator's own time: no other is at hand in tests.
async fn now(sim: &Sim) -> OffsetDateTime {
    let clock: Value = sim.get("/_sim/api/clock").await.json().await.unwrap();
    let text = clock["loginNow"].as_str().unwrap();
    OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap()
}

fn claims(sim: &Sim, now: OffsetDateTime) -> Value {
    let now = now.unix_timestamp();
    json!({"aud": format!("{}/{CONTOSO}/oauth2/v2.0/token", sim.base), "iss": CLIENT, "sub": CLIENT,
        "jti": "1", "nbf": now, "iat": now, "exp": now + 600})
}

async fn ask(sim: &Sim, assertion: &str) -> (u16, Value) {
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("scope", "https://graph.microsoft.com/.default"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion),
    ];
    let (status, body) = sim.token_request(CONTOSO, &fields).await;
    (status.as_u16(), body)
}

async fn registered(sim: &Sim, not_after: Duration) -> (Credential, OffsetDateTime) {
    sim.grant().await;
    let now = now(sim).await;
    let credential = Credential::generate(now - Duration::days(10), now + not_after);
    sim.patch(&format!("/apps/{CLIENT}"), json!({"certificates": [STANDARD.encode(&credential.der)]})).await;
    (credential, now)
}

#[tokio::test]
async fn ps256_by_sha256_and_rs256_by_sha1_in_either_base64_are_accepted() {
    let sim = start().await;
    let (credential, now) = registered(&sim, Duration::days(10)).await;
    let claims = claims(&sim, now);
    let (status, body) = ask(&sim, &credential.ps256(&claims)).await;
    assert_eq!(status, 200, "{body}");
    let sha1 = digest(&SHA1_FOR_LEGACY_USE_ONLY, &credential.der);
    for thumbprint in [URL_SAFE_NO_PAD.encode(sha1), STANDARD.encode(sha1)] {
        let header = json!({"alg": "RS256", "typ": "JWT", "x5t": thumbprint});
        let (status, body) = ask(&sim, &credential.sign(&RSA_PKCS1_SHA256, &header, &claims)).await;
        assert_eq!(status, 200, "{body}");
    }
}

#[tokio::test]
async fn each_fault_of_an_assertion_has_its_code() {
    let sim = start().await;
    let (credential, now) = registered(&sim, Duration::days(10)).await;
    let good = claims(&sim, now);
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        credential.ps256(&claims)
    };
    let stranger = Credential::generate(now - Duration::days(1), now + Duration::days(1));
    let header =
        json!({"alg": "PS256", "x5t#S256": URL_SAFE_NO_PAD.encode(digest(&SHA256, &credential.der))});
    let seconds = now.unix_timestamp();
    let mut early = good.clone();
    (early["nbf"], early["iat"]) = (json!(seconds + 400), json!(seconds + 400));
    let cases = [
        (stranger.ps256(&good), 700_027, "The key was not found."),
        (stranger.sign(&RSA_PSS_SHA256, &header, &good), 700_027, "invalid signature"),
        (
            credential.sign(&RSA_PSS_SHA256, &json!({"alg": "PS256", "kid": "x"}), &good),
            700_027,
            "The key was not found.",
        ),
        (
            with("aud", json!("https://login.microsoftonline.com/other/oauth2/v2.0/token")),
            700_021,
            "audience",
        ),
        (with("iss", json!("someone")), 700_021, "issuer"),
        (with("sub", json!("someone")), 50_048, "Subject"),
        (with("exp", json!(seconds - 301)), 700_024, "valid time range"),
        (credential.ps256(&early), 700_024, "valid time range"),
        ("not.a.jwt".to_owned(), 50_027, "malformed"),
    ];
    for (assertion, code, text) in cases {
        let (status, body) = ask(&sim, &assertion).await;
        assert_eq!(
            (status, &body["error"], &body["error_codes"]),
            (401, &json!("invalid_client"), &json!([code])),
            "{body}"
        );
        assert!(body["error_description"].as_str().unwrap().contains(text), "{body}");
    }
}

#[tokio::test]
async fn an_expired_certificate_is_named_with_its_dates() {
    let sim = start().await;
    let (credential, now) = registered(&sim, Duration::days(-1)).await;
    let (status, body) = ask(&sim, &credential.ps256(&claims(&sim, now))).await;
    assert_eq!((status, &body["error_codes"]), (401, &json!([700_027])));
    let description = body["error_description"].as_str().unwrap();
    assert!(
        description.contains("The key used is expired.") && description.contains("Found key 'Start="),
        "{description}"
    );
}
