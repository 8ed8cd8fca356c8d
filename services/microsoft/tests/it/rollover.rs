//! A certificate is replaced while requests go on: none may fail.

use domain::time::Clock as _;
use microsoft::{AppRegistration, Certificate, CredentialFiles, Microsoft};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use time::Duration;

use crate::support::{CONTOSO, FABRIKAM, Sim, client_id};

/// A certificate with its key as PEM, and what of it is uploaded.
struct Made {
    public: String,
    with_key: String,
}

impl Made {
    /// Valid from so many days from now until so many.
    fn new(sim: &Sim, from: i64, until: i64) -> Self {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.not_before = sim.clock.now() + Duration::days(from);
        // Certificates know whole seconds.
        params.not_after = sim.clock.now() + Duration::days(until) + Duration::hours(1);
        let public = params.self_signed(&key).unwrap().pem();
        Self { with_key: format!("{public}{}", key.serialize_pem()), public }
    }

    fn thumbprint(&self) -> String {
        let all = Certificate::all_from_pem(&self.with_key.as_str().into()).unwrap();
        all[0].thumbprint().to_owned()
    }
}

/// What a sync does with a token, in two tenants, each time with a new one.
async fn syncs(microsoft: &Microsoft) {
    for tid in [CONTOSO, FABRIKAM] {
        microsoft.forget_tokens(tid).await;
        let graph = microsoft.graph(tid);
        let page = graph.devices_page(None, 10).await.expect("the sync goes on");
        assert_eq!(page.devices.len(), 10);
        graph.device(page.devices[0].id).await.expect("the sync goes on");
    }
}

#[tokio::test]
async fn no_request_fails_whatever_the_order_of_the_steps() {
    let sim = Sim::start().await;
    let (old, new) = (Made::new(&sim, -300, 3), Made::new(&sim, -1, 364));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.pem");
    std::fs::write(&path, &old.with_key).unwrap();
    sim.registers(&[&old.public]).await;
    let files = CredentialFiles::certificates([path.clone()]);
    let microsoft = sim.microsoft_as(AppRegistration::from_files(client_id(), files).unwrap());
    syncs(&microsoft).await;
    assert_eq!(microsoft.credentials()[0].days_left(sim.clock.now()), Some(3));

    // The new one is put beside the old one before anybody uploads it.
    std::fs::write(&path, format!("{}{}", old.with_key, new.with_key)).unwrap();
    sim.clock.advance(Duration::seconds(61));
    syncs(&microsoft).await;
    let shown = microsoft.credentials();
    assert_eq!(shown.len(), 2);
    assert!(shown[0].preferred && shown[0].thumbprint.as_deref() == Some(old.thumbprint().as_str()));
    assert_eq!(shown[1].last_refused.as_ref().unwrap().code, Some(700_027));

    // It is uploaded, and the old one taken away at once.
    sim.registers(&[&old.public, &new.public]).await;
    syncs(&microsoft).await;
    sim.registers(&[&new.public]).await;
    syncs(&microsoft).await;
    let shown = microsoft.credentials();
    assert!(shown[0].preferred && shown[0].thumbprint.as_deref() == Some(new.thumbprint().as_str()));
    assert!(shown[1].refused && !shown[0].refused);

    // The old one leaves the file.
    std::fs::write(&path, &new.with_key).unwrap();
    sim.clock.advance(Duration::seconds(61));
    syncs(&microsoft).await;
    assert_eq!(microsoft.credentials().len(), 1);
}

#[tokio::test]
async fn an_expired_one_is_not_even_tried() {
    let sim = Sim::start().await;
    let (expired, valid) = (Made::new(&sim, -365, -1), Made::new(&sim, -1, 364));
    sim.registers(&[&expired.public, &valid.public]).await;
    let dir = tempfile::tempdir().unwrap();
    let paths = ["expired.pem", "valid.pem"].map(|name| dir.path().join(name));
    std::fs::write(&paths[0], &expired.with_key).unwrap();
    std::fs::write(&paths[1], &valid.with_key).unwrap();
    let app = AppRegistration::from_files(client_id(), CredentialFiles::certificates(paths)).unwrap();
    let microsoft = sim.microsoft_as(app);
    syncs(&microsoft).await;
    let counters = sim.get("counters").await;
    assert_eq!(counters["counters"]["token"], serde_json::json!({"200": 2}), "{counters}");
    let shown = microsoft.credentials();
    assert_eq!(shown[1].thumbprint, Some(expired.thumbprint()));
    assert!(shown[1].last_refused.is_none() && shown[1].days_left(sim.clock.now()) == Some(-1));
}
