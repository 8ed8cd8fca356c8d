use std::sync::Arc;

use time::macros::datetime;

use super::*;
use crate::testing::{Manner, StubNas, attribute, is_signed};
use crate::vendor::{SessionName, Vendor, order};

const SECRET: &str = "s3cret";

fn limits() -> Limits {
    Limits {
        coa_retransmit_milliseconds: 50,
        coa_retransmit_milliseconds_max: 100,
        coa_transmissions_max: 4,
        coa_wait_milliseconds_max: 20_000,
        coa_per_nas_max: 3,
        ..Limits::default()
    }
}

impl DynAuth {
    async fn send(&self, nas: SocketAddr, order: &Order, secret: &[u8]) -> std::io::Result<Answered> {
        Ok(self.turn(nas).await?.send(order, secret).await)
    }
}

fn disconnect(session: &str) -> Order {
    let name = SessionName { acct_session_id: Some(session.to_owned()), ..SessionName::default() };
    let now = datetime!(2026-11-20 12:00 UTC);
    order(Vendor::Generic, None, domain::coa::CoaKind::Disconnect, &name, now).unwrap()
}

#[tokio::test]
async fn the_nas_says_yes_or_why_not() {
    let nas = StubNas::start(SECRET, Manner::Ack).await;
    let client = DynAuth::new(&limits());
    let sent = client.send(nas.address, &disconnect("1"), SECRET.as_bytes()).await.unwrap();
    assert_eq!(sent, Answered::Ack);
    nas.behave(Manner::Nak(503));
    let sent = client.send(nas.address, &disconnect("2"), SECRET.as_bytes()).await.unwrap();
    assert_eq!(sent, Answered::Nak { error_cause: Some(503), message: None });
    let received = nas.received();
    assert!(received.iter().all(|request| is_signed(request, SECRET)));
    assert_eq!(attribute(&received[1], 44).as_deref(), Some(&b"2"[..]));
    assert_ne!(received[0][1], received[1][1], "each request has an identifier of its own");
}

#[tokio::test]
async fn a_request_is_repeated_as_it_is() {
    let nas = StubNas::start(SECRET, Manner::AckAfter(2)).await;
    let client = DynAuth::new(&limits());
    let sent = client.send(nas.address, &disconnect("1"), SECRET.as_bytes()).await.unwrap();
    assert_eq!(sent, Answered::Ack);
    let received = nas.received();
    assert_eq!(received.len(), 3);
    assert!(received.iter().all(|request| *request == received[0]));
}

#[tokio::test]
async fn a_silent_nas_is_given_up_on() {
    let nas = StubNas::start(SECRET, Manner::Silent).await;
    let client = DynAuth::new(&limits());
    let sent = client.send(nas.address, &disconnect("1"), SECRET.as_bytes()).await.unwrap();
    assert_eq!(sent, Answered::Timeout { transmissions: 4 });
    assert_eq!(nas.received().len(), 4);
    // Nobody listens there at all: ICMP refuses each datagram.
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let sent = client.send(nobody, &disconnect("1"), SECRET.as_bytes()).await.unwrap();
    assert_eq!(sent, Answered::Timeout { transmissions: 4 });
}

#[tokio::test]
async fn a_forged_answer_is_passed_over() {
    let nas = StubNas::start(SECRET, Manner::ForgedAckThenNak).await;
    let client = DynAuth::new(&limits());
    let sent = client.send(nas.address, &disconnect("1"), SECRET.as_bytes()).await.unwrap();
    assert_eq!(sent, Answered::Nak { error_cause: Some(503), message: None });
}

#[tokio::test]
async fn no_more_than_a_few_wait_for_one_nas() {
    let nas = StubNas::start(SECRET, Manner::Silent).await;
    let limits =
        Limits { coa_retransmit_milliseconds: 60_000, coa_retransmit_milliseconds_max: 60_000, ..limits() };
    let client = Arc::new(DynAuth::new(&limits));
    let calls: Vec<_> = (0..8)
        .map(|n| {
            let (client, address) = (Arc::clone(&client), nas.address);
            tokio::spawn(
                async move { client.send(address, &disconnect(&n.to_string()), SECRET.as_bytes()).await },
            )
        })
        .collect();
    while nas.received().len() < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(nas.received().len(), 3);
    // Who waits no more makes room.
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    nas.behave(Manner::Ack);
    let sent = client.send(nas.address, &disconnect("9"), SECRET.as_bytes()).await.unwrap();
    assert_eq!(sent, Answered::Ack);
}

/// A NAS of the field's own: FreeRADIUS as a CoA server, that takes nothing without Message-Authenticator.
struct FreeRadius {
    process: std::process::Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl FreeRadius {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display().to_string();
        let address = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let config = format!(
            r#"
            prefix = /usr
            libdir = /usr/lib/freeradius
            raddbdir = {path}
            logdir = {path}
            run_dir = {path}
            log {{
                destination = stdout
            }}
            modules {{
                always reject {{
                    rcode = reject
                }}
                always ok {{
                    rcode = ok
                }}
            }}
            client edge {{
                ipaddr = 127.0.0.1
                secret = {SECRET}
                require_message_authenticator = yes
            }}
            server coa {{
                listen {{
                    type = coa
                    ipaddr = 127.0.0.1
                    port = {}
                }}
                recv-coa {{
                    if (&Event-Timestamp && "%{{Acct-Session-Id}} %{{Calling-Station-Id}} %{{Cisco-AVPair}}" == "known D4-6E-0E-02-28-96 subscriber:command=reauthenticate") {{
                        ok
                    }}
                    else {{
                        update reply {{ Error-Cause := Session-Context-Not-Found }}
                        reject
                    }}
                }}
                send-coa {{
                    ok
                }}
            }}
            "#,
            address.port()
        );
        std::fs::write(directory.path().join("radiusd.conf"), config).unwrap();
        std::fs::write(directory.path().join("dictionary"), "$INCLUDE /usr/share/freeradius/dictionary\n")
            .unwrap();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let mut command = std::process::Command::new("freeradius");
        command.args(["-f", "-X", "-d", &path]).stdout(log.try_clone().unwrap()).stderr(log);
        let mut process = command.spawn().unwrap();
        for _ in 0..400 {
            let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
            if log.contains("Ready to process requests") {
                return Self { process, address, _directory: directory };
            }
            assert!(process.try_wait().unwrap().is_none(), "{log}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{}", std::fs::read_to_string(directory.path().join("log")).unwrap());
    }
}

impl Drop for FreeRadius {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn freeradius_takes_our_requests_and_its_answers_are_believed() {
    let nas = FreeRadius::start().await;
    let client = DynAuth::new(&Limits { coa_retransmit_milliseconds: 1_000, ..limits() });
    let reauthenticate = |session: &str| {
        let name = SessionName {
            acct_session_id: Some(session.to_owned()),
            mac: Some("d4:6e:0e:02:28:96".parse().unwrap()),
            user_name: Some("ada".to_owned()),
            nas_ip: Some("127.0.0.1".parse().unwrap()),
            ..SessionName::default()
        };
        let now = datetime!(2026-11-20 12:00 UTC);
        order(Vendor::CiscoIos, None, domain::coa::CoaKind::Reauth, &name, now).unwrap()
    };
    let sent = client.send(nas.address, &reauthenticate("known"), SECRET.as_bytes()).await.unwrap();
    assert_eq!(sent, Answered::Ack);
    let sent = client.send(nas.address, &reauthenticate("unknown"), SECRET.as_bytes()).await.unwrap();
    assert_eq!(sent, Answered::Nak { error_cause: Some(503), message: None });
    // With another secret, FreeRADIUS does not answer at all.
    let sent = client.send(nas.address, &reauthenticate("known"), b"other").await.unwrap();
    assert!(matches!(sent, Answered::Timeout { .. }));
}
