use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;
use crate::testing::{self, Answer, CLIENT_ID, Stub, TID, token_path};
use crate::{Certificate, HttpLimits};

fn of(certificates: impl IntoIterator<Item = Certificate>) -> AppRegistration {
    let credentials = certificates.into_iter().map(|one| Credential::Certificate(Box::new(one)));
    AppRegistration::with_credentials(CLIENT_ID, credentials)
}

fn start(stub: &Stub, app: AppRegistration) -> Microsoft {
    stub.microsoft_as(app, HttpLimits::default())
}

fn refusal(code: u32) -> Answer {
    testing::json(401, &json!({"error": "invalid_client", "error_codes": [code]}))
}

fn granted() -> Answer {
    testing::json(200, &json!({"access_token": "t", "expires_in": 3599}))
}

/// Of the certificates that signed so far.
fn signed_with(stub: &Stub) -> Vec<String> {
    let thumbprint = |jwt: &str| {
        let header = URL_SAFE_NO_PAD.decode(jwt.split('.').next().unwrap()).unwrap();
        let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
        header["x5t#S256"].as_str().unwrap().to_owned()
    };
    let assertion = |form: Vec<(String, String)>| {
        form.into_iter().find(|(name, _)| name == "client_assertion").map(|(_, jwt)| thumbprint(&jwt))
    };
    stub.seen_at(&token_path()).iter().filter_map(|seen| assertion(seen.form())).collect()
}

/// An older and a newer one, both valid.
fn two() -> (Certificate, Certificate) {
    let older = testing::certificate_of_days(&testing::rsa_key(), -300, 65);
    (older, testing::certificate_of_days(&testing::other_rsa_key(), -5, 360))
}

#[tokio::test]
async fn the_newest_within_its_validity_is_used() {
    let stub = Stub::start().await;
    stub.on(&token_path(), [granted()]);
    let key = testing::rsa_key();
    let (older, newer) = two();
    let expired = testing::certificate_of_days(&key, -4, -1);
    let not_yet = testing::certificate_of_days(&key, 1, 90);
    let app = of([older.clone(), expired.clone(), newer.clone(), not_yet.clone(), newer.clone()]);
    let microsoft = start(&stub, app);
    microsoft.check_token(TID).await.unwrap();
    assert_eq!(signed_with(&stub), [newer.thumbprint()]);

    let shown = microsoft.credentials();
    let thumbprints: Vec<_> = shown.iter().map(|one| one.thumbprint.as_deref().unwrap()).collect();
    let all = [&newer, &older, &not_yet, &expired].map(Certificate::thumbprint);
    assert_eq!(thumbprints, all, "each once, those in use in front");
    assert_eq!(shown[0].days_left(testing::NOW), Some(360));
    assert_eq!(shown[3].days_left(testing::NOW), Some(-1));
    assert_eq!(shown[0].last_accepted_at, Some(testing::NOW));
    assert_eq!(shown[0].portal_thumbprint.as_deref().unwrap().len(), 40);
    assert!(shown[0].preferred && !shown[1].preferred && shown[1].last_accepted_at.is_none());

    // Our clock may be wrong: Microsoft decides.
    let microsoft = start(&stub, of([expired.clone()]));
    microsoft.check_token(TID).await.unwrap();
    assert_eq!(signed_with(&stub).last().unwrap(), expired.thumbprint());
}

#[tokio::test]
async fn a_refused_one_gives_way_and_gets_another_chance_later() {
    for code in [700_027, 700_024, 7_000_214, 1_000_502, 7_000_274, 7_000_277, 7_000_215, 7_000_222] {
        let stub = Stub::start().await;
        let (older, newer) = two();
        let microsoft = start(&stub, of([older.clone(), newer.clone()]));
        let (older, newer) = (older.thumbprint(), newer.thumbprint());
        stub.on(&token_path(), [refusal(code), granted()]);
        microsoft.check_token(TID).await.expect("nobody notices");
        assert_eq!(signed_with(&stub), [newer, older], "{code}");
        let shown = microsoft.credentials();
        assert!(shown[0].preferred && shown[0].thumbprint.as_deref() == Some(older));
        assert!(shown[1].refused && !shown[0].refused);
        let refused = shown[1].last_refused.as_ref().unwrap();
        assert_eq!((refused.code, refused.at), (Some(code), testing::NOW));

        // Another tenant does not stumble again.
        let other = Uuid::from_u128(2);
        stub.on(&format!("/{other}/oauth2/v2.0/token"), [granted()]);
        microsoft.check_token(other).await.unwrap();
        assert_eq!(stub.seen().len(), 3);
        stub.clock.advance(Duration::minutes(11));
        microsoft.forget_tokens(TID).await;
        microsoft.check_token(TID).await.unwrap();
        assert_eq!(signed_with(&stub).last().unwrap(), newer, "the newer is back");
        assert!(!microsoft.credentials()[0].refused);
    }
}

#[tokio::test]
async fn refusals_for_other_reasons_are_told_at_once() {
    for (code, kind) in [
        (7_000_229, TokenErrorKind::ConsentRevoked),
        (700_021, TokenErrorKind::CredentialFailing),
        (50_196, TokenErrorKind::Throttled),
    ] {
        let stub = Stub::start().await;
        let (older, newer) = two();
        let microsoft = start(&stub, of([older, newer]));
        stub.on(&token_path(), [refusal(code), granted()]);
        assert_eq!(microsoft.check_token(TID).await.unwrap_err().kind, kind);
        assert_eq!(signed_with(&stub).len(), 1);
    }
}

#[tokio::test]
async fn where_all_are_refused_microsoft_is_left_in_peace_for_a_moment() {
    let stub = Stub::start().await;
    let (older, newer) = two();
    let microsoft = start(&stub, of([older, newer]));
    stub.on(&token_path(), [refusal(700_027), refusal(7_000_222)]);
    let error = microsoft.check_token(TID).await.unwrap_err();
    assert_eq!(error.code, Some(700_027), "what was said of the first choice");
    for tid in [TID, Uuid::from_u128(2)] {
        assert_eq!(microsoft.check_token(tid).await.unwrap_err().kind, TokenErrorKind::CredentialFailing);
    }
    assert_eq!(stub.seen().len(), 2);
    stub.clock.advance(Duration::seconds(6));
    stub.on(&token_path(), [granted()]);
    microsoft.check_token(TID).await.unwrap();
    let none = start(&stub, of([]));
    assert_eq!(none.check_token(TID).await.unwrap_err().kind, TokenErrorKind::CredentialFailing);
}

#[tokio::test]
async fn tokens_are_shared_by_those_alone_who_hold_the_same_credentials() {
    let stub = Stub::start().await;
    stub.on(&token_path(), [granted()]);
    let microsoft = stub.microsoft();
    let secret = |text: &str| AppRegistration::new(CLIENT_ID, Credential::Secret(text.into()));
    microsoft.check_token(TID).await.unwrap();
    microsoft.with_app(secret("hunter2")).check_token(TID).await.unwrap();
    assert_eq!(stub.seen().len(), 1, "the same app, made twice");
    stub.on(&token_path(), [refusal(7_000_215)]);
    let guess = microsoft.with_app(secret("guess"));
    assert_eq!(guess.check_token(TID).await.unwrap_err().code, Some(7_000_215));
    guess.forget_tokens(TID).await;
    microsoft.check_token(TID).await.unwrap();
    assert_eq!(stub.seen().len(), 2, "another's token is neither lent nor taken");
    let shown = microsoft.credentials();
    assert_eq!((shown[0].kind, shown[0].refused), (CredentialKind::Secret, false));
    assert_eq!((&shown[0].thumbprint, shown[0].days_left(testing::NOW)), (&None, None));
    assert!(guess.credentials()[0].refused);
}

struct File(std::path::PathBuf);

impl File {
    fn new(text: &str) -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let file = Self(std::env::temp_dir().join(format!("gatehouse-{}-{n}.pem", std::process::id())));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn files_are_read_again_when_they_change() {
    let stub = Stub::start().await;
    stub.on(&token_path(), [granted()]);
    let (older, newer) = (
        testing::pem_of_days(&testing::rsa_key(), -300, 65),
        testing::pem_of_days(&testing::other_rsa_key(), -5, 360),
    );
    let thumbprint = |pem: &str| Certificate::all_from_pem(&pem.into()).unwrap()[0].thumbprint().to_owned();
    let (old_print, new_print) = (thumbprint(&older), thumbprint(&newer));
    let file = File::new(&older);
    let files = CredentialFiles::certificates([file.0.clone()]);
    let microsoft = start(&stub, AppRegistration::from_files(CLIENT_ID, files).unwrap());
    microsoft.check_token(TID).await.unwrap();

    file.write("half of a new fi");
    stub.clock.advance(Duration::minutes(2));
    microsoft.check_token(TID).await.unwrap();
    assert_eq!(microsoft.credentials().len(), 1, "what does not read leaves the old one");
    file.write(&format!("{older}{newer}"));
    stub.clock.advance(Duration::seconds(30));
    microsoft.refresh_credentials().await;
    assert_eq!(microsoft.credentials().len(), 1, "once a minute is enough");
    stub.clock.advance(Duration::seconds(31));
    microsoft.check_token(TID).await.unwrap();
    assert_eq!(signed_with(&stub), [old_print, new_print.clone()]);
    assert_eq!(microsoft.credentials().len(), 2);

    // In need, they are looked at without waiting for the minute.
    file.write(&newer);
    stub.clock.advance(Duration::minutes(2));
    microsoft.check_token(TID).await.unwrap();
    file.write(&older);
    microsoft.forget_tokens(TID).await;
    stub.clock.advance(Duration::seconds(10));
    stub.on(&token_path(), [refusal(700_027), granted()]);
    microsoft.check_token(TID).await.expect("nobody notices");
    let signed = signed_with(&stub);
    assert_eq!(signed[signed.len() - 2..], [new_print, thumbprint(&older)]);
}

#[test]
fn files_that_cannot_be_used_say_why() {
    let pem = testing::pem_of_days(&testing::rsa_key(), -1, 1);
    let (good, empty) = (File::new(&pem), File::new(" \n"));
    let missing = std::path::PathBuf::from("/nonexistent/gatehouse.pem");
    let read = |files: CredentialFiles| {
        AppRegistration::from_files(CLIENT_ID, files).map(|app| app.credentials.len())
    };
    assert_eq!(read(CredentialFiles::certificates([good.0.clone()])).unwrap(), 1);
    for (files, said) in [
        (
            CredentialFiles::certificates([good.0.clone(), missing]),
            "/nonexistent/gatehouse.pem cannot be read",
        ),
        (CredentialFiles::certificates([good.0.clone(), empty.0.clone()]), "no certificate"),
        (CredentialFiles::secrets([empty.0.clone()]), "is empty"),
        (CredentialFiles::secrets([]), "no file"),
    ] {
        let error = read(files).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let secret = File::new("s3cret\n");
    assert_eq!(read(CredentialFiles::secrets([secret.0.clone(), good.0.clone()])).unwrap(), 2);
}
