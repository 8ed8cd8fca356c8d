use std::sync::Arc;

use time::macros::datetime;

use super::*;
use crate::testing::{Manner, StubNas, is_signed};
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
