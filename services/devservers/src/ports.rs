//! Ports of localhost, below the range from which the system takes ports of outgoing connections.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::path::Path;

use crate::{Error, secrets};

const RANGE: Range<u16> = 21_000..31_000;

/// Whether nobody listens on the port, for TCP or UDP.
#[must_use]
pub fn is_free(port: u16) -> bool {
    let at = (Ipv4Addr::LOCALHOST, port);
    TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok()
}

/// A port that nobody listens on at the moment.
#[must_use]
pub fn free_port() -> u16 {
    let width = RANGE.end - RANGE.start;
    let random = secrets::random_bytes::<2>().map_or(0, u16::from_le_bytes);
    (0..width)
        .map(|step| RANGE.start + (random % width + step) % width)
        .find(|port| is_free(*port))
        .unwrap_or(0)
}

/// The port that the file names, where it is free; else the preferred one, else any; written to the file.
pub fn remembered_port(file: &Path, preferred: Option<u16>) -> Result<u16, Error> {
    let before = fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
    if let Some(port) = before.filter(|port| is_free(*port)) {
        return Ok(port);
    }
    let port = preferred.filter(|port| is_free(*port)).unwrap_or_else(free_port);
    secrets::write_private(file, &port.to_string())?;
    Ok(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_kept_while_it_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("port");
        let port = remembered_port(&file, None).unwrap();
        assert_eq!(remembered_port(&file, None).unwrap(), port);
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_ne!(remembered_port(&file, None).unwrap(), port);
    }
}
