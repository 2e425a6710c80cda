//! The head of an HTTP/1 request.

use httparse::{EMPTY_HEADER, Header, Request, Status};

/// Most headers a request may have.
const MAX_HEADERS: usize = 64;

/// The head of a request, borrowed from the bytes read.
#[derive(Debug)]
pub struct RequestHead<'a> {
    method: &'a str,
    target: &'a str,
    headers: Vec<Header<'a>>,
}

/// What bytes at the start of a connection are.
#[derive(Debug)]
pub enum Parsed<'a> {
    /// A whole head, and its length.
    Request(RequestHead<'a>, usize),
    /// The beginning of one.
    Partial,
    /// No HTTP/1 request: HTTP/2, or not HTTP at all.
    Foreign,
}

impl<'a> RequestHead<'a> {
    /// Reads a head.
    pub fn parse(bytes: &'a [u8]) -> Parsed<'a> {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut request = Request::new(&mut headers);
        match request.parse(bytes) {
            Ok(Status::Partial) => Parsed::Partial,
            Ok(Status::Complete(length)) => match (request.method, request.path) {
                (Some(method), Some(target)) => {
                    Parsed::Request(Self { method, target, headers: request.headers.to_vec() }, length)
                }
                _ => Parsed::Foreign,
            },
            Err(_) => Parsed::Foreign,
        }
    }

    /// The method.
    pub fn method(&self) -> &str {
        self.method
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        self.target
    }

    /// The first header of a name, which is given in lower case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    /// All values of a name, which is given in lower case.
    pub fn all(&self, name: &str) -> impl DoubleEndedIterator<Item = &[u8]> {
        let named = |header: &&Header<'a>| header.name.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|header| header.value)
    }

    /// Some header of this name has `token` among its comma-separated values.
    pub fn header_has_token(&self, name: &str, token: &str) -> bool {
        self.headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case(name))
            .flat_map(|header| header.value.split(|byte| *byte == b','))
            .any(|value| value.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_and_everything_else_recognised() {
        let bytes = b"GET /ws/crash HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n\r\nrest";
        let Parsed::Request(head, length) = RequestHead::parse(bytes) else { panic!("a whole request") };
        assert_eq!((head.method(), head.target(), &bytes[length..]), ("GET", "/ws/crash", &b"rest"[..]));
        assert!(head.header_has_token("connection", "upgrade"));
        assert!(!head.header_has_token("connection", "up"));
        assert_eq!(head.header("host"), Some(&b"x"[..]));
        assert!(matches!(RequestHead::parse(&bytes[..30]), Parsed::Partial));
        assert!(matches!(RequestHead::parse(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Parsed::Foreign));
        assert!(matches!(RequestHead::parse(b"\x16\x03\x01"), Parsed::Foreign));
    }
}
