use jsonwebtoken::{EncodingKey, Header};
use rcgen::KeyPair;
use rcgen::PublicKeyData;
use serde_json::{Value, json};
use url::Url;

use super::*;
use crate::testing::{self, CLIENT_ID, NOW, Seen, Stub, TID};
use crate::{SignInCallback, SignInError, TokenErrorKind};

const OID: &str = "690222be-ff1a-4d56-abd1-7e4f7d38e474";
const DISCOVERY: &str = "/organizations/v2.0/.well-known/openid-configuration";
const KEYS: &str = "/organizations/discovery/v2.0/keys";
const TOKEN: &str = "/organizations/oauth2/v2.0/token";

/// n and e of a key, base64url.
fn components(key: &KeyPair) -> (String, String) {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
    // RSAPublicKey of RFC 8017, inside the SubjectPublicKeyInfo.
    let der = key.subject_public_key_info();
    let (_, spki) = x509_parser::x509::SubjectPublicKeyInfo::from_der(&der).unwrap();
    match spki.parsed().unwrap() {
        x509_parser::public_key::PublicKey::RSA(rsa) => {
            let n = rsa.modulus.strip_prefix(&[0]).unwrap_or(rsa.modulus);
            (B64.encode(n), B64.encode(rsa.exponent))
        }
        other => panic!("{other:?}"),
    }
}

use x509_parser::prelude::FromDer;

fn jwk(key: &KeyPair, kid: &str, issuer: &str) -> Value {
    let (n, e) = components(key);
    json!({"kty": "RSA", "use": "sig", "kid": kid, "x5t": kid, "n": n, "e": e, "issuer": issuer})
}

struct Entra {
    stub: Stub,
    key: KeyPair,
}

impl Entra {
    async fn start() -> Self {
        let entra = Self { stub: Stub::start().await, key: testing::rsa_key() };
        let base = entra.base();
        entra.stub.on(
            DISCOVERY,
            [testing::json(
                200,
                &json!({
                    "issuer": format!("{base}/{{tenantid}}/v2.0"),
                    "authorization_endpoint": format!("{base}/organizations/oauth2/v2.0/authorize"),
                    "token_endpoint": format!("{base}{TOKEN}"),
                    "jwks_uri": format!("{base}{KEYS}"),
                }),
            )],
        );
        entra.publishes(&[jwk(&entra.key, "k1", &entra.template())]);
        entra
    }

    fn base(&self) -> String {
        self.stub.base.as_str().trim_end_matches('/').to_owned()
    }

    fn template(&self) -> String {
        format!("{}/{{tenantid}}/v2.0", self.base())
    }

    fn publishes(&self, keys: &[Value]) {
        self.stub.on(KEYS, [testing::json(200, &json!({ "keys": keys }))]);
    }

    fn claims(&self) -> Value {
        let now = NOW.unix_timestamp();
        json!({
            "iss": format!("{}/{TID}/v2.0", self.base()), "aud": CLIENT_ID, "sub": "pairwise", "ver": "2.0",
            "iat": now, "nbf": now, "exp": now + 3600, "nonce": "n", "tid": TID, "oid": OID,
            "name": "Ada Admin", "preferred_username": "ada@contoso.example",
        })
    }

    fn sign(&self, claims: &Value) -> String {
        sign(&self.key, "k1", claims)
    }

    async fn verify(&self, token: &str) -> Result<VerifiedIdentity, IdTokenError> {
        let authority = self.stub.microsoft().authority().await.unwrap();
        verify(token, CloudName::Global, &authority, CLIENT_ID, "n", NOW)
    }
}

fn sign(key: &KeyPair, kid: &str, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(kid.to_owned());
    let key = EncodingKey::from_rsa_pem(key.serialize_pem().as_bytes()).unwrap();
    jsonwebtoken::encode(&header, claims, &key).unwrap()
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

#[tokio::test]
async fn a_good_token_names_its_bearer() {
    let entra = Entra::start().await;
    let identity = entra.verify(&entra.sign(&entra.claims())).await.unwrap();
    assert_eq!((identity.tid, identity.oid.to_string().as_str()), (TID, OID));
    assert_eq!((identity.name.as_str(), identity.user_name.as_str()), ("Ada Admin", "ada@contoso.example"));
    assert!(!identity.guest && identity.roles.is_none() && !identity.is_privileged());
}

#[tokio::test]
async fn every_claim_that_is_wrong_is_refused() {
    use IdTokenError as E;
    let entra = Entra::start().await;
    let now = NOW.unix_timestamp();
    let other = "b8990e1f-ff32-408a-9f8e-78d3b9139b95";
    for (claim, value, want) in [
        ("iss", json!(format!("{}/{other}/v2.0", entra.base())), E::Issuer),
        ("iss", json!(entra.template()), E::Issuer),
        ("iss", json!(format!("https://login.microsoftonline.com/{TID}/v2.0")), E::Issuer),
        ("iss", Value::Null, E::Issuer),
        ("tid", json!(other), E::Issuer),
        ("tid", json!("organizations"), E::Identity),
        ("tid", json!("00000000-0000-0000-0000-000000000000"), E::Identity),
        ("tid", json!(TID.simple().to_string()), E::Identity),
        ("tid", Value::Null, E::Identity),
        ("aud", json!(other), E::Audience),
        ("aud", Value::Null, E::Audience),
        ("aud", json!([CLIENT_ID, other]), E::Malformed),
        ("ver", json!("1.0"), E::Version),
        ("ver", Value::Null, E::Version),
        ("exp", json!(now - 300), E::Time),
        ("exp", Value::Null, E::Time),
        ("nbf", json!(now + 301), E::Time),
        ("nbf", Value::Null, E::Time),
        ("iat", json!(now + 301), E::Time),
        ("iat", Value::Null, E::Time),
        ("exp", json!(i64::MIN), E::Time),
        ("nonce", json!("m"), E::Nonce),
        ("nonce", Value::Null, E::Nonce),
        ("oid", Value::Null, E::Identity),
        ("oid", json!("ada"), E::Identity),
    ] {
        let claims = with(entra.claims(), claim, value.clone());
        assert_eq!(entra.verify(&entra.sign(&claims)).await, Err(want), "{claim} = {value}");
    }
    for (claim, value) in [("exp", now - 299), ("nbf", now + 300), ("iat", now + 300), ("exp", i64::MAX)] {
        let claims = with(entra.claims(), claim, json!(value));
        assert!(entra.verify(&entra.sign(&claims)).await.is_ok(), "{claim} within the skew");
    }
}

#[tokio::test]
async fn a_personal_account_is_nobodys_organization() {
    let entra = Entra::start().await;
    let tid = PERSONAL_ACCOUNTS.to_string();
    let claims = with(entra.claims(), "tid", json!(tid));
    let claims = with(claims, "iss", json!(format!("{}/{tid}/v2.0", entra.base())));
    assert_eq!(entra.verify(&entra.sign(&claims)).await, Err(IdTokenError::PersonalAccount));
}

#[tokio::test]
async fn a_key_of_one_issuer_signs_for_no_other() {
    let entra = Entra::start().await;
    let personal = format!("{}/{PERSONAL_ACCOUNTS}/v2.0", entra.base());
    entra.publishes(&[jwk(&entra.key, "k1", &personal)]);
    assert_eq!(entra.verify(&entra.sign(&entra.claims())).await, Err(IdTokenError::KeyIssuer));
    let own = format!("{}/{TID}/v2.0", entra.base());
    entra.publishes(&[jwk(&entra.key, "k1", &own)]);
    assert!(entra.verify(&entra.sign(&entra.claims())).await.is_ok());
}

#[tokio::test]
async fn signatures_and_algorithms() {
    let entra = Entra::start().await;
    let foreign = sign(&testing::other_rsa_key(), "k1", &entra.claims());
    assert_eq!(entra.verify(&foreign).await, Err(IdTokenError::Signature));
    let unknown = sign(&entra.key, "k2", &entra.claims());
    assert_eq!(entra.verify(&unknown).await, Err(IdTokenError::UnknownKey));

    let good = entra.sign(&entra.claims());
    let parts: Vec<&str> = good.split('.').collect();
    let none = format!("{}.{}.", "eyJhbGciOiJub25lIiwia2lkIjoiazEifQ", parts[1]);
    assert_eq!(entra.verify(&none).await, Err(IdTokenError::Malformed), "alg none");
    // The classic: HMAC with the public key as its secret.
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("k1".to_owned());
    let secret = EncodingKey::from_secret(entra.key.public_key_pem().as_bytes());
    let confused = jsonwebtoken::encode(&header, &entra.claims(), &secret).unwrap();
    assert_eq!(entra.verify(&confused).await, Err(IdTokenError::Algorithm));
    let mut header = Header::new(Algorithm::RS512);
    header.kid = Some("k1".to_owned());
    let key = EncodingKey::from_rsa_pem(entra.key.serialize_pem().as_bytes()).unwrap();
    let other = jsonwebtoken::encode(&header, &entra.claims(), &key).unwrap();
    assert_eq!(entra.verify(&other).await, Err(IdTokenError::Algorithm));
    for junk in ["", ".", "..", "a.b.c", parts[0], &format!("{}.{}.", parts[0], parts[1])] {
        assert!(entra.verify(junk).await.is_err(), "{junk}");
    }
}

#[tokio::test]
async fn guests_and_roles_are_told_apart() {
    let entra = Entra::start().await;
    let own = format!("{}/{TID}/v2.0", entra.base());
    for (claim, value, guest) in [
        ("acct", json!(0), false),
        ("acct", json!(1), true),
        ("acct", json!("1"), true),
        ("idp", json!(own), false),
        ("idp", json!("https://sts.windows.net/b8990e1f-ff32-408a-9f8e-78d3b9139b95/"), true),
        ("idp", json!("live.com"), true),
    ] {
        let identity = entra.verify(&entra.sign(&with(entra.claims(), claim, value.clone()))).await.unwrap();
        assert_eq!(identity.guest, guest, "{claim} = {value}");
    }
    for (wids, privileged) in [
        (json!([]), false),
        (json!(["b79fbf4d-3ef9-4689-8143-76b194e85509"]), false),
        (json!(["62e90394-69f5-4237-9190-012177145e10"]), true),
        (json!(["not a guid", "e8611ab8-c189-46e8-94e1-60213ab1f814"]), true),
    ] {
        let identity = entra.verify(&entra.sign(&with(entra.claims(), "wids", wids.clone()))).await.unwrap();
        assert!(identity.roles.is_some());
        assert_eq!(identity.is_privileged(), privileged, "{wids}");
    }
}

#[tokio::test]
async fn keys_are_fetched_daily_and_for_a_new_kid_but_not_at_anybodys_will() {
    let entra = Entra::start().await;
    let microsoft = entra.stub.microsoft();
    let fetches = || entra.stub.seen_at(KEYS).len();
    microsoft.authority().await.unwrap();
    microsoft.authority_with_key("k1").await.unwrap();
    assert_eq!(fetches(), 1);
    entra.publishes(&[jwk(&entra.key, "k1", &entra.template()), jwk(&entra.key, "k2", &entra.template())]);
    assert!(microsoft.authority_with_key("k2").await.unwrap().key("k2").is_some(), "rotation");
    assert_eq!(fetches(), 2);
    for _ in 0..10 {
        assert!(microsoft.authority_with_key("made-up").await.unwrap().key("made-up").is_none());
    }
    assert_eq!(fetches(), 2, "anybody can write a kid");
    entra.stub.clock.advance(Duration::seconds(30));
    microsoft.authority_with_key("made-up").await.unwrap();
    assert_eq!(fetches(), 3);
    entra.stub.clock.advance(Duration::hours(24));
    microsoft.authority().await.unwrap();
    assert_eq!(fetches(), 4, "a day");
    entra.stub.on(KEYS, [testing::json(503, &json!({}))]);
    entra.stub.clock.advance(Duration::hours(25));
    assert!(microsoft.authority().await.is_ok(), "old keys serve while Microsoft is away");
}

#[tokio::test]
async fn a_discovery_document_that_leads_elsewhere_is_refused() {
    for (field, value) in [
        ("jwks_uri", "https://evil.example/keys"),
        ("token_endpoint", "https://evil.example/token"),
        ("authorization_endpoint", "https://evil.example/authorize"),
        ("issuer", "https://evil.example/{tenantid}/v2.0"),
        ("issuer", "no template"),
    ] {
        let entra = Entra::start().await;
        let base = entra.base();
        let mut document = json!({
            "issuer": entra.template(), "authorization_endpoint": format!("{base}/a"),
            "token_endpoint": format!("{base}/t"), "jwks_uri": format!("{base}{KEYS}"),
        });
        document[field] = json!(value);
        entra.stub.on(DISCOVERY, [testing::json(200, &document)]);
        let error = entra.stub.microsoft().authority().await.unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::Protocol, "{field}");
    }
}

/// The value of a query parameter.
fn query(url: &Url, name: &str) -> String {
    url.query_pairs()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

#[tokio::test]
async fn the_whole_flow() {
    let entra = Entra::start().await;
    let microsoft = entra.stub.microsoft();
    let redirect = Url::parse("http://127.0.0.1:8080/signin/callback").unwrap();
    let (url, pending) = microsoft.begin_sign_in(&redirect).await.unwrap();
    assert_eq!(url.path(), "/organizations/oauth2/v2.0/authorize");
    for (name, value) in [
        ("client_id", CLIENT_ID.to_string().as_str()),
        ("response_type", "code"),
        ("response_mode", "query"),
        ("redirect_uri", redirect.as_str()),
        ("scope", "openid profile"),
        ("code_challenge_method", "S256"),
        ("prompt", "select_account"),
    ] {
        assert_eq!(query(&url, name), value, "{name}");
    }
    // What is kept survives the session store.
    let pending: crate::PendingSignIn =
        serde_json::from_value(serde_json::to_value(&pending).unwrap()).unwrap();
    assert!(!format!("{pending:?}").contains(&query(&url, "state")));

    let claims = with(entra.claims(), "nonce", json!(query(&url, "nonce")));
    let answer = json!({
        "token_type": "Bearer", "scope": "openid profile", "expires_in": 3599, "ext_expires_in": 3599,
        "access_token": "opaque", "id_token": entra.sign(&claims),
    });
    entra.stub.on(TOKEN, [testing::json(200, &answer)]);
    let callback = SignInCallback {
        state: Some(query(&url, "state")),
        code: Some("the-code".to_owned()),
        ..SignInCallback::default()
    };
    // On another task, as a web server has it: the future must be Send.
    let (client, answer, kept) = (microsoft.clone(), callback.clone(), pending.clone());
    let identity =
        tokio::spawn(async move { client.complete_sign_in(&answer, &kept).await }).await.unwrap().unwrap();
    assert_eq!(identity.tid, TID);

    let redeemed: Vec<Seen> = entra.stub.seen_at(TOKEN);
    let form = redeemed[0].form();
    let field = |name: &str| form.iter().find(|(known, _)| known == name).map(|(_, v)| v.as_str());
    assert_eq!(field("code"), Some("the-code"));
    assert_eq!(field("grant_type"), Some("authorization_code"));
    assert_eq!(field("redirect_uri"), Some(redirect.as_str()));
    assert_eq!(field("client_secret"), Some("hunter2"));
    assert_eq!(field("client_id"), Some(CLIENT_ID.to_string().as_str()));
    assert!(field("code_verifier").is_some_and(|verifier| verifier.len() >= 43));
    assert_eq!(redeemed[0].header("authorization"), "", "the secret is in the body alone");

    // Another browser's state, and a stale one.
    let forged = SignInCallback { state: Some("x".to_owned()), ..callback.clone() };
    assert_eq!(microsoft.complete_sign_in(&forged, &pending).await, Err(SignInError::StateMismatch));
    let empty = SignInCallback { code: Some(String::new()), ..callback.clone() };
    assert_eq!(microsoft.complete_sign_in(&empty, &pending).await, Err(SignInError::NoCode));
    entra.stub.clock.advance(Duration::minutes(61));
    assert_eq!(microsoft.complete_sign_in(&callback, &pending).await, Err(SignInError::Expired));
}

#[tokio::test]
async fn refusals_on_the_way() {
    let entra = Entra::start().await;
    let microsoft = entra.stub.microsoft();
    let redirect = Url::parse("http://127.0.0.1:8080/signin/callback").unwrap();
    let (url, pending) = microsoft.begin_sign_in(&redirect).await.unwrap();
    let callback = |error: Option<&str>, description: Option<&str>| SignInCallback {
        state: Some(query(&url, "state")),
        code: Some("c".to_owned()),
        error: error.map(str::to_owned),
        error_description: description.map(str::to_owned),
    };
    let declined = microsoft.complete_sign_in(&callback(Some("access_denied"), None), &pending).await;
    assert!(matches!(declined, Err(SignInError::Declined { .. })), "an error wins over a code");
    let refused = callback(Some("invalid_request"), Some("AADSTS50020: user from elsewhere"));
    let Err(SignInError::Refused(error)) = microsoft.complete_sign_in(&refused, &pending).await else {
        panic!()
    };
    assert_eq!(error.kind, TokenErrorKind::PersonRefused);

    for (status, code, kind) in [
        (400, 54_005, TokenErrorKind::CodeRefused),
        (400, 501_481, TokenErrorKind::CodeRefused),
        (401, 7_000_222, TokenErrorKind::CredentialFailing),
    ] {
        let body = json!({"error": "invalid_grant", "error_description": format!("AADSTS{code}: no"), "error_codes": [code]});
        entra.stub.on(TOKEN, [testing::json(status, &body)]);
        let Err(SignInError::Refused(error)) =
            microsoft.complete_sign_in(&callback(None, None), &pending).await
        else {
            panic!()
        };
        assert_eq!(error.kind, kind);
    }
    for answer in [
        json!({"access_token": "secret-1", "token_type": "Bearer"}),
        json!({"secret-1": true}),
        json!("secret-1"),
    ] {
        entra.stub.on(TOKEN, [testing::json(200, &answer)]);
        let error = microsoft.complete_sign_in(&callback(None, None), &pending).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret-1"), "{error:?}");
    }
}
