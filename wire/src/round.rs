//! A *round*: the one message everything here is about.
//!
//! ```json
//! {"round_id":512,"game_id":1,"game_slug":"crash","game_type":"multiplier",
//!  "finished_at":"2026-01-17T00:45:42.735266-03:00","extras":"{\"point\": \"11.72\"}","timestamp":1768621542123}
//! ```
//!
//! Field order and types are fixed. A round is validated once, where it enters; from there on its published
//! bytes are carried unchanged, so that a client gets byte for byte what was published.

mod recognize;

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Largest round accepted, in bytes.
pub const MAX_ROUND_BYTES: usize = 1 << 20;

/// The fields of a round, borrowed from the published bytes wherever JSON allows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Round<'a> {
    /// Unique identifier, rising within a game.
    pub round_id: u64,
    /// Identifier of the game in the database.
    pub game_id: u64,
    /// Name of the game in paths and channels.
    pub game_slug: Cow<'a, str>,
    /// Category of the game.
    pub game_type: Cow<'a, str>,
    /// When the round ended, RFC 3339 with offset.
    pub finished_at: Cow<'a, str>,
    /// Whatever else the game says: a string that holds JSON.
    pub extras: Cow<'a, str>,
    /// When the round ended, Unix milliseconds.
    pub timestamp: i64,
}

/// Why bytes are not a round.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// More bytes than [`MAX_ROUND_BYTES`].
    #[error("{bytes} bytes, but a round has at most {MAX_ROUND_BYTES}")]
    TooLarge {
        /// Length of the payload.
        bytes: usize,
    },
    /// Not JSON, a field missing, out of order or of another type.
    #[error("not a round: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A raw line break between the tokens: valid JSON, but it would break a text stream's framing.
    #[error("a line break inside the message; publish the round on one line")]
    LineBreak,
    /// `finished_at` is no RFC 3339 time with offset.
    #[error("finished_at is not an RFC 3339 time with offset")]
    FinishedAt,
    /// `extras` is a string, but what it holds is not JSON.
    #[error("extras does not hold JSON: {0}")]
    Extras(serde_json::Error),
    /// An identifier no database column can hold.
    #[error("{field} is larger than a 64-bit signed integer")]
    IdentifierRange {
        /// The field.
        field: &'static str,
    },
}

impl RoundError {
    /// A short stable word for metrics: the `reason` label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Malformed(_) => "malformed",
            Self::LineBreak => "line_break",
            Self::FinishedAt => "finished_at",
            Self::Extras(_) => "extras",
            Self::IdentifierRange { .. } => "identifier_range",
        }
    }
}

impl<'a> Round<'a> {
    /// Reads and validates a published round.
    ///
    /// # Errors
    /// [`RoundError`] says what is wrong with the bytes.
    pub fn parse(payload: &'a [u8]) -> Result<Self, RoundError> {
        if payload.len() > MAX_ROUND_BYTES {
            return Err(RoundError::TooLarge { bytes: payload.len() });
        }
        let round: Self = serde_json::from_slice(payload)?;
        // Inside JSON strings a raw line break is already an error of the parser.
        if memchr::memchr2(b'\n', b'\r', payload).is_some() {
            return Err(RoundError::LineBreak);
        }
        for (field, value) in [("round_id", round.round_id), ("game_id", round.game_id)] {
            if i64::try_from(value).is_err() {
                return Err(RoundError::IdentifierRange { field });
            }
        }
        if OffsetDateTime::parse(&round.finished_at, &Rfc3339).is_err() {
            return Err(RoundError::FinishedAt);
        }
        serde_json::from_str::<IgnoredAny>(&round.extras).map_err(RoundError::Extras)?;
        Ok(round)
    }

    /// Validates a published round as [`Self::parse`] does, for whoever needs no more of it than its identifier and its
    /// game: a quarter of the work where it is written as rounds usually are.
    ///
    /// # Errors
    /// [`RoundError`] says what is wrong with the bytes.
    pub fn identify(payload: &'a [u8]) -> Result<(u64, Cow<'a, str>), RoundError> {
        match recognize::recognize(payload) {
            Some((round_id, game_slug)) => Ok((round_id, Cow::Borrowed(game_slug))),
            None => Self::parse(payload).map(|round| (round.round_id, round.game_slug)),
        }
    }

    /// Reads the fields of what has been validated, or written by [`Self::to_json`].
    ///
    /// # Errors
    /// Where the bytes are not even of a round's form.
    pub fn read(payload: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(payload)
    }

    /// The bytes to publish.
    pub fn to_json(&self) -> Vec<u8> {
        // Serializing strings and integers into memory has no way to fail.
        serde_json::to_vec(self).expect("a round is always serializable")
    }
}

/// The identifier of a received round, read without parsing the rest; `None` where there is none.
///
/// Looks at the place the contract fixes and, for servers that order fields otherwise, at the first
/// `"round_id":` anywhere.
pub fn peek_round_id(message: &[u8]) -> Option<u64> {
    const FIRST: &[u8] = b"{\"round_id\":";
    const KEY: &[u8] = b"\"round_id\":";
    let digits = match message.strip_prefix(FIRST) {
        Some(rest) => rest,
        None => {
            let at = memchr::memmem::find(message, KEY)?;
            &message[at + KEY.len()..]
        }
    };
    let digits = digits.trim_ascii_start();
    let mut id: u64 = 0;
    let mut length = 0;
    for byte in digits.iter().take_while(|byte| byte.is_ascii_digit()) {
        id = id.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
        length += 1;
    }
    (length > 0).then_some(id)
}

impl<'de: 'a, 'a> Deserialize<'de> for Round<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

/// Reads the fields in the order the contract fixes.
struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Round<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a round with its seven fields in order")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Round<'de>, M::Error> {
        let round = Round {
            round_id: field(&mut map, "round_id")?,
            game_id: field(&mut map, "game_id")?,
            game_slug: field::<_, Text<'de>>(&mut map, "game_slug")?.0,
            game_type: field::<_, Text<'de>>(&mut map, "game_type")?.0,
            finished_at: field::<_, Text<'de>>(&mut map, "finished_at")?.0,
            extras: field::<_, Text<'de>>(&mut map, "extras")?.0,
            timestamp: field(&mut map, "timestamp")?,
        };
        match map.next_key::<Text<'de>>()? {
            None => Ok(round),
            Some(key) => {
                Err(de::Error::custom(format_args!("unexpected field `{}` after `timestamp`", key.0)))
            }
        }
    }
}

fn field<'de, M: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut M,
    name: &'static str,
) -> Result<T, M::Error> {
    match map.next_key::<Text<'de>>()? {
        Some(key) if key.0 == name => map.next_value(),
        Some(key) => Err(de::Error::custom(format_args!("field `{name}` expected, found `{}`", key.0))),
        None => Err(de::Error::missing_field(name)),
    }
}

/// A string borrowed where it has no escapes (serde's own `Cow` always copies).
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowing;
        impl<'de> Visitor<'de> for Borrowing {
            type Value = Text<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrowing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = r#"{"round_id":512,"game_id":1,"game_slug":"crash","game_type":"multiplier","finished_at":"2026-01-17T00:45:42.735266-03:00","extras":"{\"point\": \"11.72\"}","timestamp":1768621542123}"#;

    #[test]
    fn the_documented_round_is_valid_and_comes_out_as_it_went_in() {
        let round = Round::parse(SEED.as_bytes()).expect("the documented example");
        assert_eq!(round.round_id, 512);
        assert_eq!(round.game_slug, "crash");
        assert_eq!(round.extras, r#"{"point": "11.72"}"#);
        assert_eq!(round.to_json(), SEED.as_bytes());
        assert!(matches!(round.game_slug, Cow::Borrowed(_)), "nothing is copied where JSON allows it");
    }

    #[test]
    fn each_way_to_be_invalid_has_its_own_reason() {
        let reason = |text: String| Round::parse(text.as_bytes()).expect_err(&text).reason();
        assert_eq!(reason("not json".into()), "malformed");
        assert_eq!(reason(SEED.replace("512", "\"512\"")), "malformed");
        assert_eq!(reason(SEED.replace("512", "-1")), "malformed");
        assert_eq!(reason(SEED.replace(",\"timestamp\":1768621542123", "")), "malformed");
        assert_eq!(reason(SEED.replace("1768621542123}", "1768621542123,\"more\":1}")), "malformed");
        assert_eq!(
            reason(SEED.replace("\"round_id\":512,\"game_id\":1", "\"game_id\":1,\"round_id\":512")),
            "malformed"
        );
        assert_eq!(reason(format!("{SEED} {SEED}")), "malformed");
        assert_eq!(reason(SEED.replace(",\"game_id\"", ",\n\"game_id\"")), "line_break");
        assert_eq!(reason(SEED.replace("-03:00", "")), "finished_at");
        assert_eq!(reason(SEED.replace("11.72\\\"}", "11.72")), "extras");
        assert_eq!(reason(SEED.replace("512", "9223372036854775808")), "identifier_range");
        assert_eq!(reason(" ".repeat(MAX_ROUND_BYTES + 1)), "too_large");
    }

    #[test]
    fn the_identifier_is_found_without_parsing() {
        assert_eq!(peek_round_id(SEED.as_bytes()), Some(512));
        assert_eq!(peek_round_id(br#"{"game_id":1, "round_id": 77}"#), Some(77));
        assert_eq!(peek_round_id(br#"{"round_id": 78}"#), Some(78));
        assert_eq!(peek_round_id(br#"{"round_id":}"#), None);
        assert_eq!(peek_round_id(br#"{"round_id":99999999999999999999}"#), None);
        assert_eq!(peek_round_id(b""), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..512)) {
            let _ = Round::parse(&bytes);
            let _ = peek_round_id(&bytes);
        }

        #[test]
        fn whatever_is_serialized_is_read_back(id in 0..=i64::MAX as u64, extra in "\\PC*") {
            let extras = serde_json::to_string(&extra).expect("a string");
            let round = Round {
                round_id: id,
                game_id: 1,
                game_slug: "crash".into(),
                game_type: "multiplier".into(),
                finished_at: "2026-01-17T00:45:42Z".into(),
                extras: extras.into(),
                timestamp: -5,
            };
            let json = round.to_json();
            proptest::prop_assert_eq!(Round::parse(&json).expect("valid"), round);
            proptest::prop_assert_eq!(peek_round_id(&json), Some(id));
        }
    }
}
