//! Requests, made before the clock runs: what is measured is not the making.

use std::ops::Range;

/// `t-<number>-<attempt>`: travels in `nas.port_id`, and by it an attempt is known again in what was recorded.
const TAG: &str = "t-000000000000-000";
const NUMBER: Range<usize> = 2..14;
const ATTEMPT: Range<usize> = 15..18;

/// One request per client, to be sent in turn.
#[derive(Debug, Default)]
pub struct Requests {
    clients: Vec<Template>,
}

#[derive(Debug)]
struct Template {
    bytes: Box<[u8]>,
    /// Where the tag begins.
    tag: Option<usize>,
}

impl Requests {
    /// Adds a client: what it posts.
    pub fn add(&mut self, path: &str, token: &str, body: &str) {
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: nac.example\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let tag = text.find(TAG);
        self.clients.push(Template { bytes: text.into_bytes().into(), tag });
    }

    /// How a body marks where the tag belongs.
    pub const fn tag() -> &'static str {
        TAG
    }

    /// Bytes of the first client's request.
    pub fn bytes(&self) -> usize {
        self.clients.first().map_or(0, |first| first.bytes.len())
    }

    /// Writes an attempt at the request of that number.
    pub fn write(&self, number: u64, attempt: u32, out: &mut Vec<u8>) {
        let clients = u64::try_from(self.clients.len()).unwrap_or(u64::MAX).max(1);
        let template = &self.clients[usize::try_from(number % clients).unwrap_or(0)];
        out.clear();
        out.extend_from_slice(&template.bytes);
        if let Some(at) = template.tag {
            digits(&mut out[at + NUMBER.start..at + NUMBER.end], number);
            digits(&mut out[at + ATTEMPT.start..at + ATTEMPT.end], attempt.into());
        }
    }

    /// Number and attempt of a tag.
    pub fn read_tag(tag: &str) -> Option<(u64, u32)> {
        let (number, attempt) = (tag.get(NUMBER)?, tag.get(ATTEMPT)?);
        Some((number.parse().ok()?, attempt.parse().ok()?))
    }
}

fn digits(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_is_known_again() {
        let mut requests = Requests::default();
        for client in ["a", "b"] {
            let body = format!("{{\"client\":\"{client}\",\"tag\":\"{}\"}}", Requests::tag());
            requests.add("/x", "ghe_", &body);
        }
        let mut out = Vec::new();
        requests.write(12_345, 7, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("\"client\":\"b\""), "{text}");
        let tag = &text[text.find("t-0").unwrap()..][..TAG.len()];
        assert_eq!(Requests::read_tag(tag), Some((12_345, 7)));
        assert_eq!(Requests::read_tag("switch-1"), None);
    }
}
