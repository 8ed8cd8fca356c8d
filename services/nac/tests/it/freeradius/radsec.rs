//! RADIUS over TLS, through radsecproxy as an access point's side.

use std::fs::File;
use std::process::{Child, Stdio};

use super::certs::{Authority, Files, Says};
use super::rig::{Got, SECRET, mab, program};
use super::{Site, intune, site};
use crate::world::{COMPLIANT, NONCOMPLIANT, eventually};

/// A proxy that turns UDP into RadSec. Ended when dropped.
struct RadsecProxy {
    port: u16,
    child: Child,
}

impl Drop for RadsecProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn proxy(site: &Site, issuer: &Authority, name: &str) -> RadsecProxy {
    let says = Says { cn: name, dns: &["ap.example"], ..Says::default() };
    let Files { cert, key } = issuer.issue(site.rig.folder.path(), name, &says);
    let port = devservers::free_port();
    let config = format!(
        "ListenUDP 127.0.0.1:{port}\nLogLevel 3\nLogDestination file://{log}\n\
         tls default {{\n CACertificateFile {ca}\n CertificateFile {cert}\n CertificateKeyFile {key}\n}}\n\
         client nas {{\n host 127.0.0.1\n type udp\n secret \"{SECRET}\"\n}}\n\
         server gatehouse {{\n host 127.0.0.1\n port {radsec}\n type tls\n secret radsec\n \
         certificateNameCheck off\n StatusServer off\n}}\n\
         realm * {{\n server gatehouse\n accountingServer gatehouse\n}}\n",
        log = site.rig.path(&format!("{name}.log")).display(),
        ca = site.rig.path("raddb/certs/radsec-ca.pem").display(),
        cert = cert.display(),
        key = key.display(),
        radsec = site.rig.radsec_port,
    );
    let file = site.rig.path(&format!("{name}.conf"));
    std::fs::write(&file, config).unwrap();
    let log = File::create(site.rig.path(&format!("{name}.out"))).unwrap();
    let child = devservers::dies_with_parent("KILL")
        .arg(program("radsecproxy"))
        .args(["-f", "-c"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    RadsecProxy { port, child }
}

#[tokio::test]
async fn radius_comes_in_over_tls_from_those_who_hold_a_certificate_for_it() {
    let mut site = site().await;
    site.rig.with_radsec();
    site.rig.start().await;
    let ours = proxy(&site, &site.rig.radsec, "ap");
    eventually("RadSec carries a request", || async {
        matches!(site.rig.packet(ours.port, "auth", &mab(COMPLIANT)).await, Got::Accept(_))
    })
    .await;
    let got = site.rig.packet(ours.port, "auth", &mab(NONCOMPLIANT)).await;
    assert_eq!(got.vlan(), Some("99"));
    assert_eq!(
        site.last_decision("/request/cert").await,
        serde_json::Value::Null,
        "the tunnel's is not the client's"
    );
    let says = Says { cn: "LAPTOP-0001", uris: &[intune(1)], ..Says::default() };
    let network = site.rig.tls("compliant", "LAPTOP-0001", &says);
    assert_eq!(site.rig.eap_to(ours.port, NONCOMPLIANT, &network).await.vlan(), Some("30"));
    let start =
        "Acct-Status-Type = Start\nAcct-Session-Id = \"r1\"\nNAS-Identifier = \"ap\"\nUser-Name = \"x\"\n";
    assert_ne!(site.rig.send(ours.port, "acct", start).await, Got::Nothing);
    assert_eq!(site.world.count("SELECT count(*) FROM session WHERE accounted_at IS NOT NULL").await, 1);

    // A laptop's certificate is of another authority.
    let before = site.decisions().await;
    let laptop = proxy(&site, &site.rig.clients, "laptop");
    assert_eq!(site.rig.packet(laptop.port, "auth", &mab(COMPLIANT)).await, Got::Nothing);
    assert_eq!(site.decisions().await, before);
}
