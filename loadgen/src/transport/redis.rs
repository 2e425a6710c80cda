//! The floor `redis`: subscribed to Redis itself, no server in between.

use lastmile_wire::channel::stream_channel;
use lastmile_wire::resp::{Push, append_command, next_push};

use crate::channels::Turns;
use crate::redis::RedisUrl;
use crate::transport::framing::{Framing, Step};
use crate::transport::{AttachError, MAX_MESSAGE_BYTES, Requested};

/// How channels are subscribed to and how their messages come.
#[derive(Debug, Clone)]
pub struct RedisSubscription {
    request: Requested<Vec<u8>>,
    /// How many channels each subscribes to: every topic of a run has as many games.
    channels: usize,
    /// The address in words, without its password.
    address: String,
}

impl RedisSubscription {
    /// Subscriptions of the streams of these games, over which subscribers take turns.
    pub fn new<'a>(url: &RedisUrl, topics: impl IntoIterator<Item = Vec<&'a str>>, turns: Turns) -> Self {
        let mut most = 0;
        let request = |slugs: Vec<&str>| {
            most = most.max(slugs.len());
            let channels: Vec<String> = slugs.into_iter().map(stream_channel).collect();
            let mut request = url.introduction();
            let mut command: Vec<&[u8]> = vec![b"SUBSCRIBE"];
            command.extend(channels.iter().map(String::as_bytes));
            append_command(&mut request, &command);
            request
        };
        let request = Requested::in_turn(topics.into_iter().map(request).collect::<Vec<_>>(), turns);
        Self { request, channels: most, address: url.to_string() }
    }
}

impl Framing for RedisSubscription {
    const PROTOCOL: &'static str = "Redis";
    type State = ();

    fn request(&self, subscriber: usize) -> Vec<u8> {
        self.request.by(subscriber).clone()
    }

    /// All subscriptions stand.
    fn answer(&self, (): &mut (), bytes: &[u8], _at_end: bool) -> Result<Option<usize>, AttachError> {
        let (mut at, mut subscribed) = (0, 0);
        while subscribed < self.channels {
            match next_push(&bytes[at..], MAX_MESSAGE_BYTES)
                .map_err(|error| self.refuse(error.to_string()))?
            {
                None => return Ok(None),
                Some((Push::Refused(words), _)) => {
                    return Err(self.refuse(format!("it refused: {}", String::from_utf8_lossy(words))));
                }
                Some((push, used)) => {
                    subscribed += usize::from(push == Push::Subscribed);
                    at += used;
                }
            }
        }
        Ok(Some(at))
    }

    #[inline]
    fn next<'a>(&self, (): &'a mut (), bytes: &'a [u8]) -> Result<Step<'a>, String> {
        match next_push(bytes, MAX_MESSAGE_BYTES).map_err(|error| error.to_string())? {
            None => Ok(Step::Incomplete),
            Some((Push::Message { payload, .. }, used)) => Ok(Step::Message { message: payload, used }),
            Some((Push::Refused(words), _)) => {
                Err(format!("Redis refused: {}", String::from_utf8_lossy(words)))
            }
            Some((Push::Subscribed | Push::Other, used)) => Ok(Step::Nothing { used }),
        }
    }

    fn address(&self) -> &str {
        &self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attached_is_who_has_all_subscriptions() {
        let url: RedisUrl = "redis://:secret@here:1".parse().unwrap();
        let redis = RedisSubscription::new(&url, [vec!["crash", "double"]], Turns::new(1));
        let request = String::from_utf8(redis.request(0)).unwrap();
        assert!(
            request.starts_with("*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*3\r\n$9\r\nSUBSCRIBE\r\n"),
            "{request}"
        );
        let answer = b"+OK\r\n*3\r\n$9\r\nsubscribe\r\n$12\r\nstream:crash\r\n:1\r\n\
            *3\r\n$9\r\nsubscribe\r\n$13\r\nstream:double\r\n:2\r\n";
        for length in 0..answer.len() {
            assert_eq!(redis.answer(&mut (), &answer[..length], false).unwrap(), None, "{length} bytes");
        }
        assert_eq!(redis.answer(&mut (), answer, false).unwrap(), Some(answer.len()));
        let refused = redis.answer(&mut (), b"-NOAUTH Authentication required.\r\n", false).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "redis://here:1 answered what a Redis client can't accept: it refused: NOAUTH Authentication required."
        );
    }

    #[test]
    fn only_messages_are_messages() {
        let redis =
            RedisSubscription::new(&"redis://here:1".parse().unwrap(), [vec!["crash"]], Turns::new(1));
        let message = b"*3\r\n$7\r\nmessage\r\n$12\r\nstream:crash\r\n$2\r\n{}\r\n";
        let mut state = ();
        let Ok(Step::Message { message: payload, used }) = redis.next(&mut state, message) else { panic!() };
        assert_eq!((payload, used), (&b"{}"[..], message.len()));
        assert!(matches!(redis.next(&mut (), b"+PONG\r\n"), Ok(Step::Nothing { used: 7 })));
        assert!(matches!(redis.next(&mut (), &message[..20]), Ok(Step::Incomplete)));
        assert!(redis.next(&mut (), b"-ERR no\r\n").is_err());
    }
}
