//! What a client may say on an open WebSocket or WebTransport session: one JSON object with one field.
//!
//! ```json
//! {"subscribe":["double","type/trending"]}
//! {"unsubscribe":["crash"]}
//! {"ping":7}
//! {"auth":"TOKEN"}
//! ```
//!
//! The answers are objects, too: `{"subscribed":["crash","double"]}` (everything the client gets from there on),
//! `{"pong":7}`, `{"authenticated":true}`, `{"error":"…"}`.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, json};

use crate::request::Topic;

/// Longest command accepted, in bytes.
pub const MAX_COMMAND_BYTES: usize = 4096;

/// Most topics one command may name.
pub const MAX_TOPICS: usize = 64;

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// To get the rounds of these, too: the latest first, then every later one.
    Subscribe(Vec<Topic>),
    /// To get the rounds of these no more.
    Unsubscribe(Vec<Topic>),
    /// To be answered with the same number.
    Ping(Number),
    /// Who the client is.
    Auth(Token),
}

/// What a client shows to be let in. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// Why something is no command, in words for the client's developer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// More than [`MAX_COMMAND_BYTES`].
    #[error("a command has at most {MAX_COMMAND_BYTES} bytes")]
    TooLong,
    /// No JSON object with one field that is known.
    #[error(
        "unknown command; use {{\"subscribe\":[\"GAME\"]}}, {{\"unsubscribe\":[\"GAME\"]}}, {{\"ping\":1}} or \
         {{\"auth\":\"TOKEN\"}}"
    )]
    Unknown,
    /// A known field whose value can't be.
    #[error("{field} takes {expected}")]
    Value {
        /// The field.
        field: &'static str,
        /// What could have been given.
        expected: &'static str,
    },
    /// A binary message.
    #[error("a command is a text message")]
    Binary,
}

const TOPICS: &str = "a list of 1 to 64 topics: GAME or type/TYPE";

impl Command {
    /// Reads a command.
    ///
    /// # Errors
    /// [`CommandError`] says what is wrong with it.
    pub fn parse(message: &[u8]) -> Result<Self, CommandError> {
        if message.len() > MAX_COMMAND_BYTES {
            return Err(CommandError::TooLong);
        }
        let mut error = CommandError::Unknown;
        let mut deserializer = serde_json::Deserializer::from_slice(message);
        let command = deserializer.deserialize_map(OneField(&mut error));
        match command.and_then(|command| deserializer.end().map(|()| command)) {
            Ok(command) => Ok(command),
            Err(_) => Err(error),
        }
    }
}

/// Reads the one field; leaves what was wrong with it, more telling than the parser's own words.
struct OneField<'e>(&'e mut CommandError);

impl<'de> Visitor<'de> for OneField<'_> {
    type Value = Command;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with one field")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Command, M::Error> {
        let name: Option<Cow<'_, str>> = map.next_key()?;
        let mut wants = |field, expected| *self.0 = CommandError::Value { field, expected };
        let command = match name.as_deref() {
            Some("subscribe") => {
                wants("subscribe", TOPICS);
                Command::Subscribe(map.next_value_seed(Topics)?)
            }
            Some("unsubscribe") => {
                wants("unsubscribe", TOPICS);
                Command::Unsubscribe(map.next_value_seed(Topics)?)
            }
            Some("ping") => {
                wants("ping", "a number");
                Command::Ping(map.next_value()?)
            }
            Some("auth") => {
                wants("auth", "a token");
                Command::Auth(Token(map.next_value()?))
            }
            _ => return Err(de::Error::custom("no command")),
        };
        *self.0 = CommandError::Unknown;
        match map.next_key::<Cow<'_, str>>()? {
            None => Ok(command),
            Some(_) => Err(de::Error::custom("more than one field")),
        }
    }
}

struct Topics;

impl<'de> DeserializeSeed<'de> for Topics {
    type Value = Vec<Topic>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Topic>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Topics {
    type Value = Vec<Topic>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(TOPICS)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut sequence: S) -> Result<Vec<Topic>, S::Error> {
        let mut topics = Vec::new();
        while let Some(name) = sequence.next_element::<Cow<'_, str>>()? {
            if topics.len() == MAX_TOPICS {
                return Err(de::Error::custom("too many topics"));
            }
            topics.push(Topic::parse(&name).ok_or_else(|| de::Error::custom("no topic"))?);
        }
        if topics.is_empty() { Err(de::Error::custom("no topics")) } else { Ok(topics) }
    }
}

/// The answer to a ping.
pub fn pong(number: &Number) -> String {
    json!({ "pong": number }).to_string()
}

/// The answer to a changed subscription: all games the client gets now.
pub fn subscribed<'a>(slugs: impl IntoIterator<Item = &'a str>) -> String {
    json!({ "subscribed": slugs.into_iter().collect::<Vec<_>>() }).to_string()
}

/// The answer to a good token.
pub fn authenticated() -> String {
    json!({ "authenticated": true }).to_string()
}

/// The answer to what can't be done.
pub fn error(words: &str) -> String {
    json!({ "error": words }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_the_contract_is_understood() {
        let parse =
            |text: &str| Command::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        let double = Topic::Game("double".into());
        assert_eq!(parse(r#"{"subscribe":["double"]}"#), Command::Subscribe(vec![double.clone()]));
        assert_eq!(
            parse(r#" { "unsubscribe" : [ "double", "type\/color" ] } "#),
            Command::Unsubscribe(vec![double, Topic::Type("color".into())])
        );
        for number in ["7", "-1", "1768621542123", "0.5", "18446744073709551615"] {
            let Command::Ping(number) = parse(&format!(r#"{{"ping":{number}}}"#)) else { panic!("{number}") };
            assert_eq!(pong(&number), format!(r#"{{"pong":{number}}}"#));
        }
        let auth = parse(r#"{"auth":"a secret"}"#);
        assert!(matches!(&auth, Command::Auth(token) if token.as_bytes() == b"a secret"));
        assert!(!format!("{auth:?}").contains("secret"), "a token is never printed");
        assert_eq!(subscribed(["crash", "double"]), r#"{"subscribed":["crash","double"]}"#);
        assert_eq!(error("a \"quote\""), r#"{"error":"a \"quote\""}"#);
    }

    #[test]
    fn anything_else_is_told_what_to_say() {
        let refused = |text: &str| Command::parse(text.as_bytes()).expect_err(text);
        for text in
            ["", "hello", "{}", "[]", "1", r#"{"sub":[]}"#, r#"{"ping":1,"ping":2}"#, r#"{"ping":1}x"#]
        {
            assert_eq!(refused(text), CommandError::Unknown, "{text}");
        }
        for text in [
            r#"{"subscribe":"double"}"#,
            r#"{"subscribe":[]}"#,
            r#"{"subscribe":["../x"]}"#,
            r#"{"subscribe":[1]}"#,
        ] {
            assert_eq!(refused(text), CommandError::Value { field: "subscribe", expected: TOPICS }, "{text}");
        }
        assert!(matches!(refused(r#"{"ping":"x"}"#), CommandError::Value { field: "ping", .. }));
        assert!(matches!(refused(r#"{"auth":1}"#), CommandError::Value { field: "auth", .. }));
        let topics = |count: usize| format!(r#"{{"subscribe":[{}]}}"#, vec![r#""a""#; count].join(","));
        assert!(Command::parse(topics(MAX_TOPICS).as_bytes()).is_ok());
        assert!(matches!(refused(&topics(MAX_TOPICS + 1)), CommandError::Value { .. }));
        assert_eq!(refused(&" ".repeat(MAX_COMMAND_BYTES + 1)), CommandError::TooLong);
        assert_eq!(refused(&"[".repeat(MAX_COMMAND_BYTES)), CommandError::Unknown);
    }
}
