//! A client of HTTP/1.1 that costs next to nothing: requests are made beforehand, connections are kept, and there is
//! one request at a time on each.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest answer that is taken.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
const HEADERS_MAX: usize = 32;

/// A kept connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, as long as nothing else is asked.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
    /// The server will take no more requests here.
    pub last: bool,
}

/// Where the parts of an answer lie in the buffer.
struct Head {
    status: u16,
    body: usize,
    length: usize,
    last: bool,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends a whole request and waits for the whole answer.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(head) = head(&self.buffer)?
                && self.buffer.len() >= head.body + head.length
            {
                let body = &self.buffer[head.body..head.body + head.length];
                return Ok(Answer { status: head.status, body, last: head.last });
            }
            if self.buffer.len() > ANSWER_BYTES_MAX {
                return Err(unreadable("the answer is too long"));
            }
        }
    }
}

/// `None` while it is not whole.
fn head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let body = match response.parse(bytes) {
        Ok(httparse::Status::Complete(body)) => body,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let status = response.code.unwrap_or(0);
    let (mut length, mut last) = (None, false);
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(header.value).ok().and_then(|text| text.trim().parse().ok());
        } else if header.name.eq_ignore_ascii_case("connection") {
            last = header.value.eq_ignore_ascii_case(b"close");
        }
    }
    // Whatever is measured here says how long its answers are.
    let length =
        if status == 204 { 0 } else { length.ok_or_else(|| unreadable("an answer without length"))? };
    Ok(Some(Head { status, body, length, last }))
}

fn unreadable(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_or_not_yet() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
        let head = head(text).unwrap().unwrap();
        assert_eq!((head.status, head.length, head.last), (200, 5, true));
        assert_eq!(&text[head.body..], b"hello");
        assert!(super::head(&text[..40]).unwrap().is_none());
        assert!(super::head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(super::head(b"SSH-2.0-x\r\n\r\n").is_err());
    }
}
