//! Where a message has its identifier that does not arrive as it was published.

use std::fmt;
use std::str::FromStr;

use memchr::memmem;
use serde_json::Value;

/// Where the identifier is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdPlace {
    /// Behind the first field of this name, at whatever depth, even inside a string: found without reading the rest.
    Field(String),
    /// Where this JSON pointer (RFC 6901) leads. A string on the way that holds JSON is looked into.
    Pointer(Vec<String>),
}

/// What is neither a field's name nor a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("give the name of a field, such as round_id, or a JSON pointer, such as /data/round_id")]
pub struct NoIdPlace;

impl FromStr for IdPlace {
    type Err = NoIdPlace;

    fn from_str(text: &str) -> Result<Self, NoIdPlace> {
        match text.strip_prefix('/') {
            Some(pointer) => {
                let parts = pointer.split('/').map(|part| part.replace("~1", "/").replace("~0", "~"));
                Ok(Self::Pointer(parts.collect()))
            }
            None if !text.is_empty() && !text.contains(['"', '\\']) => Ok(Self::Field(text.to_owned())),
            None => Err(NoIdPlace),
        }
    }
}

impl fmt::Display for IdPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => formatter.write_str(name),
            Self::Pointer(parts) => {
                let mut parts = parts.iter().map(|part| part.replace('~', "~0").replace('/', "~1"));
                parts.try_for_each(|part| write!(formatter, "/{part}"))
            }
        }
    }
}

impl IdPlace {
    /// The identifier in a message, if there is one.
    pub fn find(&self, message: &[u8]) -> Option<u64> {
        match self {
            Self::Field(name) => memmem::find_iter(message, name)
                .find_map(|at| number_behind(message.get(..at)?, &message[at + name.len()..])),
            Self::Pointer(parts) => {
                let mut value: Value = serde_json::from_slice(message).ok()?;
                for part in parts {
                    if let Value::String(text) = &value {
                        value = serde_json::from_str(text).ok()?;
                    }
                    value = match value {
                        Value::Object(mut fields) => fields.remove(part)?,
                        Value::Array(mut elements) => {
                            let index = part.parse::<usize>().ok().filter(|index| *index < elements.len())?;
                            elements.swap_remove(index)
                        }
                        _ => return None,
                    };
                }
                value.as_u64().or_else(|| value.as_str()?.parse().ok())
            }
        }
    }
}

/// The number that `rest` begins with behind the end of a field's name, whose beginning `before` ends with.
fn number_behind(before: &[u8], rest: &[u8]) -> Option<u64> {
    // Not the end of a longer name.
    before.last().filter(|byte| **byte == b'"')?;
    // Inside a string, quotes have backslashes before them.
    let rest = rest.strip_prefix(b"\\").unwrap_or(rest).strip_prefix(b"\"")?;
    let rest = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(place: &str, message: &str) -> Option<u64> {
        let place: IdPlace = place.parse().unwrap();
        assert_eq!(place.to_string().parse(), Ok(place.clone()));
        place.find(message.as_bytes())
    }

    #[test]
    fn identifiers_are_found_where_they_are_said_to_be() {
        let round = r#"{"round_id":512,"game_id":1}"#;
        let wrapped = serde_json::json!({ "event": "round_id", "data": round }).to_string();
        let nested = format!(r#"{{"my_round_id":7,"list":[0,{{"a/b":{round}}}]}}"#);
        for place in ["round_id", "/round_id"] {
            assert_eq!(find(place, round), Some(512));
        }
        assert_eq!(find("round_id", &wrapped), Some(512));
        assert_eq!(find("/data/round_id", &wrapped), Some(512));
        assert_eq!(find("round_id", &nested), Some(512));
        assert_eq!(find("/list/1/a~1b/round_id", &nested), Some(512));
        assert_eq!(find("/id", r#"{"id":"17"}"#), Some(17));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for (place, message) in [
            ("round_id", r#"{"round_id":"x"}"#),
            ("round_id", r#"{"my_round_id":5}"#),
            ("round_id", "round_id"),
            ("round_id", r#""round_id""#),
            ("/a", r#"{"b":1}"#),
            ("/a/b", r#"{"a":"no json"}"#),
            ("/0", "[]"),
            ("/a", "{"),
            ("/a", r#"{"a":-5}"#),
            ("round_id", r#"{"round_id":99999999999999999999}"#),
        ] {
            assert_eq!(find(place, message), None, "{place} in {message}");
        }
        assert!("".parse::<IdPlace>().is_err() && "a\"b".parse::<IdPlace>().is_err());
    }
}
