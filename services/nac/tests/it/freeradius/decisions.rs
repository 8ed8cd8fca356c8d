//! Who gets in, and with what.

use serde_json::json;

use super::certs::{Authority, Says};
use super::rig::{Got, mab};
use super::{Site, intune, site};
use crate::world::{COMPLIANT, NONCOMPLIANT, STRANGER, eventually};

/// By certificate: the VLAN is the device's, whatever name or MAC the client shows.
#[tokio::test]
async fn a_certificate_leads_to_its_devices_vlan() {
    let mut site = site().await;
    site.twins().await;
    site.rig.start().await;
    let Site { rig, .. } = &site;
    let dns = ["laptop.contoso.example", "second.example"];
    let one = [intune(1), "tag:microsoft.com,2022-09-14:sid:S-1-5-21-1".to_owned()];
    let says = Says {
        cn: "host/LAPTOP-0001",
        dns: &dns,
        uris: &one,
        upn: Some("jörg@contoso.example"),
        ..Says::default()
    };
    let got = rig.eap(STRANGER, &rig.tls("compliant", "ceo@contoso.example", &says)).await;
    assert_eq!(got.vlan(), Some("30"));
    assert!(got.value("Message-Authenticator").is_some());
    assert!(got.value("User-Name").is_some_and(|name| !name.starts_with("ceo")), "{got:?}");
    assert_eq!(site.last_decision("/request/user_name").await, json!("jörg@contoso.example"));
    assert_eq!(site.last_decision("/request/ssid").await, json!("corp"));
    assert_eq!(site.last_decision("/request/nas/ip").await, json!("192.0.2.7"));
    assert_eq!(site.last_decision("/answer/found/strength").await, json!("certificate"));

    // A spoofed MAC lends nobody its compliance.
    let two = [intune(2)];
    let says = Says { cn: "LAPTOP-0002", uris: &two, ..Says::default() };
    let network = rig.tls("noncompliant", "LAPTOP-0002", &says);
    assert_eq!(rig.eap(COMPLIANT, &network).await.vlan(), Some("99"));
    assert_eq!(site.last_decision("/request/user_name").await, json!("LAPTOP-0002"));
    assert_eq!(site.last_decision("/answer/found/mac_mismatch").await, json!(true));

    // A retired device, with the MAC of a compliant one; and a name that two devices bear.
    let says = Says { cn: "LAPTOP-0001", uris: &[intune(99)], ..Says::default() };
    assert!(rig.eap(COMPLIANT, &rig.tls("retired", "x", &says)).await.is_reject());
    assert_eq!(site.last_decision("/answer/found/outcome").await, json!("not-enrolled"));
    let says = Says { cn: "TWIN", ..Says::default() };
    assert!(rig.eap(STRANGER, &rig.tls("twin", "TWIN", &says)).await.is_reject());
    assert_eq!(site.last_decision("/answer/found/outcome").await, json!("ambiguous"));

    // A name that reads like a list of names.
    let forged = [format!("http://x/, URI:{}", intune(1))];
    let says = Says { cn: "LAPTOP-0002", uris: &forged, ..Says::default() };
    assert_eq!(rig.eap(STRANGER, &rig.tls("forged", "x", &says)).await.vlan(), Some("99"));
    assert_eq!(site.last_decision("/answer/found/key").await, json!("device-name"));
}

#[tokio::test]
async fn an_expired_or_foreign_certificate_never_reaches_gatehouse() {
    let mut site = site().await;
    site.rig.start().await;
    let says = Says { cn: "LAPTOP-0001", uris: &[intune(1)], expired: true, ..Says::default() };
    let expired = site.rig.tls("expired", "x", &says);
    for _ in 0..2 {
        assert!(site.rig.eap(COMPLIANT, &expired).await.is_reject());
    }
    site.world.advance(1);
    let stranger = Authority::new("Strangers").issue(
        site.rig.folder.path(),
        "foreign",
        &Says { expired: false, ..says },
    );
    let network = format!(
        " eap=TLS\n identity=\"x\"\n client_cert={:?}\n private_key={:?}",
        stranger.cert, stranger.key
    );
    assert!(site.rig.eap(COMPLIANT, &network).await.is_reject());
    assert_eq!(site.decisions().await, 0);

    // Nothing is decided of it, but why it does not come in is told, once.
    let [expired, foreign] = site.refusals().await.try_into().unwrap();
    assert_eq!(expired["kind"], "NAC_CLIENT_CERT_EXPIRED");
    assert_eq!(expired["summary"], "Refused by the edge: the client certificate has expired (“LAPTOP-0001”)");
    assert_eq!(expired["mac"], COMPLIANT);
    let detail = &expired["detail"];
    assert_eq!((&detail["auth_type"], &detail["ssid"]), (&json!("eap-tls"), &json!("corp")));
    assert_eq!((&detail["claimed_name"], &detail["nas"]["ip"]), (&json!("x"), &json!("192.0.2.7")));
    assert_eq!(detail["cert"]["not_after"], "2025-01-01T00:00:00Z");
    assert!(detail["cert"]["issuer"].as_str().unwrap().contains("Clients"), "{detail}");
    assert!(detail["cert"]["serial"].as_str().is_some_and(|serial| !serial.is_empty()), "{detail}");
    assert_eq!(foreign["kind"], "NAC_CLIENT_CERT_CHECK_FAILURE");
    assert_eq!(foreign["detail"]["cause"], "certificate_issuer_unknown", "{foreign}");
    assert!(foreign["detail"]["cert"]["issuer"].as_str().unwrap().contains("Strangers"), "{foreign}");
}

/// The client's fault is not the edge's, and the other way round.
#[tokio::test]
async fn a_client_that_does_not_trust_the_edge_is_told_of() {
    let mut site = site().await;
    site.rig.start().await;
    let says = Says { cn: "LAPTOP-0001", uris: &[intune(1)], ..Says::default() };
    let network = site.rig.tls("trusting", "x", &says);
    let other = site.rig.path("others-ca.pem");
    std::fs::write(&other, Authority::new("Others").pem()).unwrap();
    site.rig.eap_distrusting(COMPLIANT, &network, &other).await;
    eventually("it is told", || async { !site.refusals().await.is_empty() }).await;
    let told = site.refusals().await;
    assert_eq!(told[0]["kind"], "NAC_SERVER_CERT_VALIDATION_FAILURE", "{told:?}");
}

/// Gatehouse is not waited for, and what it does not hear changes nothing for the client.
#[tokio::test]
async fn who_is_refused_is_refused_also_while_gatehouse_is_away() {
    let mut site = site().await;
    site.rig.start().await;
    site.wire.cut();
    let spoofed = mab(STRANGER).replace(&STRANGER.replace(':', ""), &COMPLIANT.replace(':', ""));
    assert!(site.rig.packet(site.rig.auth_port, "auth", &spoofed).await.is_reject());
    site.wire.mend();
    assert!(site.refusals().await.is_empty());
}

#[tokio::test]
async fn a_password_in_a_tunnel_names_the_user_and_nothing_else_does() {
    let mut site = site().await;
    site.rig.start().await;
    let network = |password: &str| {
        format!(
            " eap=TTLS\n identity=\"alex\"\n anonymous_identity=\"ceo@contoso.example\"\n password={password:?}\n \
             phase2=\"auth=PAP\""
        )
    };
    let got = site.rig.eap(COMPLIANT, &network("pässword")).await;
    assert_eq!((got.vlan(), got.value("User-Name")), (Some("30"), Some("alex")));
    assert_eq!(site.last_decision("/request/user_name").await, json!("alex"));
    assert_eq!(site.last_decision("/request/auth_type").await, json!("eap-ttls"));
    assert!(site.rig.eap(COMPLIANT, &network("guess")).await.is_reject());
    assert_eq!(site.decisions().await, 1, "a wrong password is asked of nobody");
    let [guess] = site.refusals().await.try_into().unwrap();
    assert_eq!(
        (&guess["kind"], &guess["detail"]["cause"]),
        (&json!("NAC_IDP_AUTHC_FAILURE"), &json!("wrong_password"))
    );
    assert_eq!(
        (&guess["detail"]["claimed_name"], &guess["detail"]["auth_type"]),
        (&json!("alex"), &json!("eap-ttls"))
    );
    let told = guess.to_string().to_lowercase();
    assert!(!told.contains("guess") && !told.contains("pässword"), "{told}");
    let said = format!("{}", site.last_decision("").await);
    assert!(!said.contains("sword"), "no password leaves the edge: {said}");
    let other = " eap=PEAP\n identity=\"alex\"\n password=\"pässword\"\n phase2=\"auth=MSCHAPV2\"";
    assert!(site.rig.eap(COMPLIANT, other).await.is_reject(), "PEAP is not offered");
}

#[tokio::test]
async fn mac_authentication_is_by_the_stations_own_mac() {
    let mut site = site().await;
    site.rig.start().await;
    let accepted = site.rig.mab(COMPLIANT).await;
    assert_eq!(accepted.vlan(), Some("30"));
    assert!(accepted.value("Class").is_some() && accepted.value("Message-Authenticator").is_some());
    assert_eq!(site.last_decision("/request/nas/port_id").await, json!("ge-0/0/7"));
    assert_eq!(site.rig.mab(NONCOMPLIANT).await.vlan(), Some("99"));
    let rejected = site.rig.mab(STRANGER).await;
    assert!(rejected.is_reject());
    assert_eq!(rejected.values("Class").len(), 0);
    let before = site.decisions().await;
    let spoofed = mab(STRANGER).replace(&STRANGER.replace(':', ""), &COMPLIANT.replace(':', ""));
    assert!(site.rig.packet(site.rig.auth_port, "auth", &spoofed).await.is_reject());
    assert_eq!(site.decisions().await, before);
    let [refused] = site.refusals().await.try_into().unwrap();
    assert_eq!(refused["kind"], "NAC_CLIENT_AUTH_FAILURE");
    assert_eq!(
        (&refused["mac"], &refused["detail"]["cause"]),
        (&json!(STRANGER), &json!("name_is_not_the_mac"))
    );
    assert_eq!(refused["detail"]["nas"]["port_id"], "ge-0/0/7");
    // Without Message-Authenticator anybody on the way could have written it.
    let bare = format!("{}\n", mab(COMPLIANT));
    assert_eq!(site.rig.send(site.rig.auth_port, "auth", &bare).await, Got::Nothing);
}

#[tokio::test]
async fn it_tells_its_version_and_its_clock() {
    let mut site = site().await;
    site.rig.start().await;
    assert_eq!(site.rig.mab(COMPLIANT).await.vlan(), Some("30"));
    eventually("it is written", || async {
        let sql = "SELECT count(*) FROM edge_status s JOIN edge_caller c USING (org_id, edge_id)
                   WHERE abs(s.skew_milliseconds) < 30000
                     AND c.name ~ '^gatehouse-freeradius/1 [(]FreeRADIUS 3[.][0-9]+[.][0-9]+[)]$'";
        site.world.count(sql).await == 1
    })
    .await;
}
