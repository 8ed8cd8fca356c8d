use std::io::Write as _;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn attributes() -> Attributes {
    let mut attributes = Attributes::default();
    attributes.add(attribute::USER_NAME, b"host/LAPTOP-1").unwrap();
    attributes.add(attribute::ACCT_SESSION_ID, b"8f3a-0001").unwrap();
    attributes.add(attribute::CALLING_STATION_ID, b"D4-6E-0E-02-28-96").unwrap();
    attributes.add_nas_address("192.0.2.7".parse().unwrap()).unwrap();
    attributes.add_vendor(9, 1, b"subscriber:command=reauthenticate").unwrap();
    attributes
}

/// A response as a NAS makes it, with or without Message-Authenticator.
fn response(request: &Request, code: u8, attributes: &[u8], signed: bool, secret: &[u8]) -> Vec<u8> {
    response_over(request, code, attributes, signed.then(|| request.authenticator()), secret)
}

/// The same, with a Message-Authenticator over the given authenticator.
fn response_over(
    request: &Request,
    code: u8,
    attributes: &[u8],
    over: Option<&[u8]>,
    secret: &[u8],
) -> Vec<u8> {
    let length = HEADER_BYTES + attributes.len() + if over.is_some() { 18 } else { 0 };
    let mut bytes = vec![code, request.identifier()];
    bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
    bytes.extend(over.unwrap_or(request.authenticator()));
    bytes.extend(attributes);
    if over.is_some() {
        bytes.extend([80, 18]);
        bytes.extend([0; 16]);
        let signature = hmac_md5(secret, &[&bytes]);
        let at = bytes.len() - 16;
        bytes[at..].copy_from_slice(&signature);
    }
    bytes[4..20].copy_from_slice(request.authenticator());
    let authenticator = md5(&[&bytes, secret]);
    bytes[4..20].copy_from_slice(&authenticator);
    bytes
}

#[test]
fn an_answer_is_believed_only_from_who_knows_the_secret() {
    let request = Request::new(code::COA_REQUEST, 7, &attributes(), b"s3cret");
    let cause = [101, 6, 0, 0, 1, 0xf7];
    for signed in [false, true] {
        let good = response(&request, code::COA_NAK, &cause, signed, b"s3cret");
        let packet = Packet::read(&good).unwrap();
        assert!(request.is_answered_by(&packet, b"s3cret"), "signed: {signed}");
        assert_eq!(packet.error_cause(), Some(503));
        assert!(!request.is_answered_by(&packet, b"other"));
        let other = Request::new(code::COA_REQUEST, 8, &attributes(), b"s3cret");
        assert!(!other.is_answered_by(&packet, b"s3cret"), "the answer to another request");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let believed = Packet::read(&bad).is_ok_and(|packet| request.is_answered_by(&packet, b"s3cret"));
            assert!(!believed, "byte {at} was changed");
        }
    }
    // Whoever knows the secret, and still signs wrongly, is not believed either.
    let mut bytes = response(
        &request,
        code::COA_ACK,
        &[80, 18, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
        false,
        b"s3cret",
    );
    bytes.extend([9; 12]);
    assert!(!request.is_answered_by(&Packet::read(&bytes).unwrap(), b"s3cret"));
}

/// As RFC 5176 3.4 has it, over the request's authenticator; as FreeRADIUS 3 does it, over zeroes; over nothing else.
#[test]
fn a_message_authenticator_is_over_the_request_or_over_zeroes() {
    for (ask, ack) in [(code::COA_REQUEST, code::COA_ACK), (code::DISCONNECT_REQUEST, code::DISCONNECT_NAK)] {
        let request = Request::new(ask, 7, &attributes(), b"s3cret");
        for (over, believed) in [(request.authenticator(), true), (&[0; 16][..], true), (&[1; 16][..], false)]
        {
            let bytes = response_over(&request, ack, &[101, 6, 0, 0, 1, 0xf7], Some(over), b"s3cret");
            let packet = Packet::read(&bytes).unwrap();
            assert_eq!(request.is_answered_by(&packet, b"s3cret"), believed, "{ask} {over:?}");
            assert!(!request.is_answered_by(&packet, b"other"));
        }
    }
}

#[test]
fn too_long_is_refused() {
    let mut attributes = Attributes::default();
    assert_eq!(attributes.add(1, &[b'x'; 254]), Err(TooLong));
    assert_eq!(attributes.add_vendor(9, 1, &[b'x'; 250]), Err(TooLong));
    while attributes.add(1, &[b'x'; 253]).is_ok() {}
    assert!(Request::new(43, 0, &attributes, b"x").bytes.len() <= PACKET_BYTES_MAX);
}

/// radclient codes the same request to the same bytes: Message-Authenticator and Request Authenticator are what
/// FreeRADIUS makes of them. And it believes our responses, whose Message-Authenticator it checks.
#[test]
fn freeradius_codes_the_same() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let mut child = Command::new("radclient")
        .args(["-x", "-r", "1", "-t", "10", &address, "coa", "s3cret"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(
            b"Message-Authenticator = 0x00, User-Name = \"host/LAPTOP-1\", Acct-Session-Id = \"8f3a-0001\", \
              Calling-Station-Id = \"D4-6E-0E-02-28-96\", NAS-IP-Address = 192.0.2.7, \
              Cisco-AVPair = \"subscriber:command=reauthenticate\"\n",
        )
        .unwrap();
    let mut datagram = [0; PACKET_BYTES_MAX];
    let (length, from) = socket.recv_from(&mut datagram).unwrap();
    let theirs = &datagram[..length];
    let ours = Request::new(code::COA_REQUEST, theirs[1], &attributes(), b"s3cret");
    assert_eq!(ours.bytes, theirs);

    socket.send_to(&response(&ours, code::COA_ACK, &[], true, b"s3cret"), from).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("Received CoA-ACK"), "{said}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(packet) = Packet::read(&bytes) {
            let read: usize = packet.attributes().map(|(_, value)| value.len() + 2).sum();
            prop_assert_eq!(read + HEADER_BYTES, usize::from(u16::from_be_bytes([bytes[2], bytes[3]])));
            let request = Request::new(code::COA_REQUEST, packet.identifier(), &Attributes::default(), b"x");
            prop_assert!(!request.is_answered_by(&packet, b"x"));
        }
    }

    #[test]
    fn what_is_written_is_read(
        values in prop::collection::vec((1u8..=255, prop::collection::vec(any::<u8>(), 0..=253)), 0..12),
        identifier: u8,
        secret in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let mut attributes = Attributes::default();
        for (kind, value) in &values {
            attributes.add(*kind, value).unwrap();
        }
        let request = Request::new(code::DISCONNECT_REQUEST, identifier, &attributes, &secret);
        let packet = Packet::read(&request.bytes).unwrap();
        prop_assert_eq!((packet.code(), packet.identifier()), (code::DISCONNECT_REQUEST, identifier));
        let read: Vec<(u8, Vec<u8>)> =
            packet.attributes().skip(1).map(|(kind, value)| (kind, value.to_vec())).collect();
        prop_assert_eq!(read, values);
    }
}
