//! The floor `tcp`: our server's fan-out over bare TCP, each round behind its length and nothing else around it.

use lastmile_wire::webtransport::next_message;

use crate::transport::framing::{Framing, Step};
use crate::transport::{AttachError, MAX_MESSAGE_BYTES, Requested};

/// What the server says to a subscriber that is attached.
const ATTACHED: &[u8] = b"+attached\n";
/// Longest refusal.
const REFUSAL_BYTES: usize = 512;

/// How a stream is asked for, in a line, and how its messages come.
#[derive(Debug, Clone)]
pub struct LengthPrefixed {
    path: Requested<String>,
    address: String,
}

impl LengthPrefixed {
    /// Subscriptions of `path` at `address`.
    pub fn new(address: String, path: impl Into<Requested<String>>) -> Self {
        Self { path: path.into(), address }
    }
}

impl Framing for LengthPrefixed {
    const PROTOCOL: &'static str = "length-prefixed TCP";
    type State = ();

    fn request(&self, subscriber: usize) -> Vec<u8> {
        format!("{}\n", self.path.by(subscriber)).into_bytes()
    }

    fn answer(&self, (): &mut (), bytes: &[u8], at_end: bool) -> Result<Option<usize>, AttachError> {
        if bytes.starts_with(ATTACHED) {
            return Ok(Some(ATTACHED.len()));
        }
        if !at_end && !bytes.contains(&b'\n') && bytes.len() < REFUSAL_BYTES {
            return Ok(None);
        }
        Err(self.refuse(format!("it said {:?}", String::from_utf8_lossy(bytes).trim_end())))
    }

    #[inline]
    fn next<'a>(&self, (): &'a mut (), bytes: &'a [u8]) -> Result<Step<'a>, String> {
        match next_message(bytes, MAX_MESSAGE_BYTES) {
            Ok(None) => Ok(Step::Incomplete),
            Ok(Some((message, used))) => Ok(Step::Message { message, used }),
            Err(error) => Err(error.to_string()),
        }
    }

    fn address(&self) -> &str {
        &self.address
    }
}

#[cfg(test)]
mod tests {
    use lastmile_wire::webtransport::append_message;

    use super::*;

    #[test]
    fn one_line_attaches_and_any_other_refuses() {
        let tcp = LengthPrefixed::new("here:1".into(), "/tcp/crash".to_owned());
        assert_eq!(tcp.request(0), b"/tcp/crash\n");
        assert_eq!(tcp.answer(&mut (), b"+attached", false).unwrap(), None);
        assert_eq!(tcp.answer(&mut (), b"+attached\n\x01x", false).unwrap(), Some(10));
        for (answer, at_end) in [(&b"-no game\n"[..], false), (b"HTTP/1.1 400", true)] {
            assert!(tcp.answer(&mut (), answer, at_end).unwrap_err().to_string().contains("it said"));
        }
    }

    #[test]
    fn messages_stand_behind_their_length() {
        let tcp = LengthPrefixed::new("here:1".into(), "/tcp/crash".to_owned());
        let mut bytes = Vec::new();
        append_message(&mut bytes, b"{}");
        let whole = bytes.len();
        bytes.extend_from_slice(&[0x40]);
        let mut state = ();
        let Ok(Step::Message { message, used }) = tcp.next(&mut state, &bytes) else { panic!() };
        assert_eq!((message, used), (&b"{}"[..], whole));
        assert!(matches!(tcp.next(&mut (), &bytes[used..]), Ok(Step::Incomplete)));
        assert!(tcp.next(&mut (), &[0xff; 8]).is_err());
    }
}
