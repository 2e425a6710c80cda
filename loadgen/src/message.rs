//! The message of a slice: one round, published again and again with another `round_id`.
//!
//! Identifiers have a fixed number of digits, so that every message has the same length and the identifier is
//! patched in place. The rest never changes, which makes the corruption check one comparison.

use lastmile_wire::channel::{KNOWN_GAMES, KnownGame};
use lastmile_wire::msgpack;
use lastmile_wire::round::{Round, peek_round_id};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::variant::Encoding;

/// Digits of every identifier. 15 digits stay below 2⁵³, the largest integer every JSON reader keeps exact.
pub const ID_DIGITS: usize = 15;
/// Smallest identifier with [`ID_DIGITS`] digits.
const LOWEST_ID: u64 = 100_000_000_000_000;
/// Identifiers set aside for each slice: more messages than any slice has.
const IDS_PER_SLICE: u64 = 100_000_000_000;

/// What every round begins with: the identifier follows.
const PREFIX: &[u8] = b"{\"round_id\":";
/// Where the fixed part behind the identifier begins.
const SUFFIX_AT: usize = PREFIX.len() + ID_DIGITS;

/// Where the identifier stands in `MessagePack`: behind a map's head, the name of its first field, and the type of a
/// number that needs eight bytes, as every one of [`ID_DIGITS`] digits does.
const PACKED_ID_AT: usize = 1 + 1 + "round_id".len() + 1;
const PACKED_ID_TYPE: u8 = 0xcf;
const PACKED_SUFFIX_AT: usize = PACKED_ID_AT + size_of::<u64>();

/// The first identifier of a slice, drawn from the run's seed.
///
/// Slices of a run get rising, disjoint ranges: a message that strayed from another slice is recognised, and a
/// server that expects identifiers to rise within a game sees them rise.
pub fn first_id(seed: u64, slice: u64) -> u64 {
    let start = LOWEST_ID + SmallRng::seed_from_u64(seed).random_range(0..4 * LOWEST_ID);
    let within = SmallRng::seed_from_u64(seed ^ (slice + 1)).random_range(0..IDS_PER_SLICE / 2);
    start + slice * IDS_PER_SLICE + within
}

/// The game whose rounds are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Game {
    /// Identifier in the database.
    pub id: u64,
    /// Name in paths and channels.
    pub slug: String,
    /// Its category.
    pub game_type: String,
}

impl From<KnownGame> for Game {
    fn from(game: KnownGame) -> Self {
        Self { id: game.id.into(), slug: game.slug.into(), game_type: game.game_type.into() }
    }
}

impl Game {
    /// A game every new database holds, by slug.
    pub fn known(slug: &str) -> Option<Self> {
        KNOWN_GAMES.into_iter().find(|game| game.slug == slug).map(Self::from)
    }

    /// The first game of a type.
    pub fn known_of_type(game_type: &str) -> Option<Self> {
        KNOWN_GAMES.into_iter().find(|game| game.game_type == game_type).map(Self::from)
    }
}

/// A payload too small to hold a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a round of this game has at least {minimum} bytes; ask for --payload {minimum} or more")]
pub struct PayloadTooSmall {
    /// The fewest bytes possible.
    pub minimum: usize,
}

/// What received bytes turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The bytes published, with this identifier.
    Intact(u64),
    /// Other bytes; the identifier where one can be read.
    Different(Option<u64>),
}

/// The bytes of a slice's messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageTemplate {
    bytes: Vec<u8>,
    /// What arrives of it where that is not what was published: the same round in another encoding.
    packed: Option<Vec<u8>>,
}

impl MessageTemplate {
    /// A round of exactly `payload_bytes` bytes; what a round has too little is padding inside `extras`, drawn
    /// from the seed so that no compression on the way can profit.
    ///
    /// # Errors
    /// [`PayloadTooSmall`] where not even empty `extras` fit.
    pub fn new(
        game: &Game,
        payload_bytes: usize,
        finished_at: time::OffsetDateTime,
        seed: u64,
    ) -> Result<Self, PayloadTooSmall> {
        let minimum = round(game, finished_at, "{}").len();
        let room = payload_bytes.checked_sub(minimum).ok_or(PayloadTooSmall { minimum })?;
        let bytes = round(game, finished_at, &extras(room, seed));
        debug_assert_eq!(bytes.len(), payload_bytes);
        Ok(Self { bytes, packed: None })
    }

    /// The same where subscribers get it in this encoding.
    #[must_use]
    pub fn received_as(mut self, encoding: Encoding) -> Self {
        self.packed = match encoding {
            Encoding::Json => None,
            Encoding::MessagePack => {
                let round = Round::read(&self.bytes).expect("a template is a round");
                let mut packed = Vec::new();
                msgpack::append_round(&mut packed, &round);
                debug_assert_eq!(packed[PACKED_ID_AT - 1], PACKED_ID_TYPE);
                Some(packed)
            }
        };
        self
    }

    /// The bytes, with the lowest identifier in place.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Puts an identifier into bytes that begin like a message of this template.
    pub fn write_id(message: &mut [u8], mut id: u64) {
        for digit in message[PREFIX.len()..SUFFIX_AT].iter_mut().rev() {
            *digit = b'0' + (id % 10) as u8;
            id /= 10;
        }
    }

    /// Tells whether a message is one of this template, byte for byte, and which.
    #[inline]
    pub fn identify(&self, message: &[u8]) -> Identity {
        if let Some(packed) = &self.packed {
            return identify_packed(packed, message);
        }
        if message.len() == self.bytes.len()
            && message[..PREFIX.len()] == *PREFIX
            && message[SUFFIX_AT..] == self.bytes[SUFFIX_AT..]
            && let Some(id) = read_id(&message[PREFIX.len()..SUFFIX_AT])
        {
            return Identity::Intact(id);
        }
        Identity::Different(peek_round_id(message))
    }
}

/// The same in `MessagePack`: the identifier is a number of eight bytes.
#[inline]
fn identify_packed(packed: &[u8], message: &[u8]) -> Identity {
    if message.len() == packed.len()
        && message[..PACKED_ID_AT] == packed[..PACKED_ID_AT]
        && message[PACKED_SUFFIX_AT..] == packed[PACKED_SUFFIX_AT..]
        && let Some(id) = message[PACKED_ID_AT..].first_chunk()
    {
        return Identity::Intact(u64::from_be_bytes(*id));
    }
    Identity::Different(msgpack::peek_round_id(message))
}

#[inline]
fn read_id(digits: &[u8]) -> Option<u64> {
    let mut id = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // 15 digits can't overflow.
        id = id * 10 + u64::from(digit);
    }
    Some(id)
}

fn round(game: &Game, finished_at: time::OffsetDateTime, extras: &str) -> Vec<u8> {
    let rfc3339 = &time::format_description::well_known::Rfc3339;
    Round {
        round_id: LOWEST_ID,
        game_id: game.id,
        game_slug: game.slug.as_str().into(),
        game_type: game.game_type.as_str().into(),
        finished_at: finished_at.format(rfc3339).expect("a year of four digits is always formattable").into(),
        extras: extras.into(),
        timestamp: (finished_at.unix_timestamp_nanos() / 1_000_000) as i64,
    }
    .to_json()
}

/// Extras that are `room` bytes longer than `{}` once they are a string inside JSON.
fn extras(room: usize, seed: u64) -> String {
    // Each of the four quotes is escaped by one byte more.
    const PADDING: &str = r#"{"padding":""}"#;
    const OVERHEAD: usize = PADDING.len() + 4 - "{}".len();
    let Some(length) = room.checked_sub(OVERHEAD) else {
        return format!("{{{}}}", " ".repeat(room));
    };
    let mut random = SmallRng::seed_from_u64(seed);
    let padding: String = (0..length).map(|_| char::from(random.sample(rand::distr::Alphanumeric))).collect();
    format!(r#"{{"padding":"{padding}"}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHEN: time::OffsetDateTime = time::macros::datetime!(2026-01-17 00:45:42.735266 -3);

    fn crash() -> Game {
        Game::known("crash").expect("a known game")
    }

    #[test]
    fn a_message_has_exactly_the_bytes_asked_for_and_is_a_valid_round() {
        let minimum = MessageTemplate::new(&crash(), 0, WHEN, 1).unwrap_err().minimum;
        assert_eq!(MessageTemplate::new(&crash(), minimum - 1, WHEN, 1), Err(PayloadTooSmall { minimum }));
        for size in (minimum..minimum + 40).chain([256, 1000, 65_536]) {
            let template = MessageTemplate::new(&crash(), size, WHEN, 1).unwrap();
            let mut message = template.bytes().to_vec();
            MessageTemplate::write_id(&mut message, 987_654_321_012_345);
            assert_eq!(message.len(), size);
            let round = Round::parse(&message).unwrap_or_else(|error| panic!("{size}: {error}"));
            assert_eq!((round.round_id, &*round.game_slug), (987_654_321_012_345, "crash"));
            assert_eq!(template.identify(&message), Identity::Intact(987_654_321_012_345));
        }
    }

    #[test]
    fn any_other_byte_is_noticed() {
        let template = MessageTemplate::new(&crash(), 256, WHEN, 1).unwrap();
        let message = template.bytes().to_vec();
        for at in 0..message.len() {
            let mut damaged = message.clone();
            damaged[at] ^= 0x40;
            assert!(
                matches!(template.identify(&damaged), Identity::Different(_)),
                "byte {at} was changed and nobody noticed"
            );
        }
        assert_eq!(template.identify(&message[..255]), Identity::Different(Some(LOWEST_ID)));
        assert_eq!(template.identify(b"hello"), Identity::Different(None));
        let mut damaged = message;
        *damaged.last_mut().unwrap() = b'x';
        assert_eq!(template.identify(&damaged), Identity::Different(Some(LOWEST_ID)));
    }

    #[test]
    fn in_another_encoding_any_other_byte_is_noticed_too() {
        let template = MessageTemplate::new(&crash(), 256, WHEN, 1).unwrap();
        let mut message = template.bytes().to_vec();
        MessageTemplate::write_id(&mut message, 987_654_321_012_345);
        let mut packed = Vec::new();
        msgpack::append_round(&mut packed, &Round::parse(&message).unwrap());
        let template = template.received_as(Encoding::MessagePack);
        assert_eq!(template.identify(&packed), Identity::Intact(987_654_321_012_345));
        for at in 0..packed.len() {
            let mut damaged = packed.clone();
            damaged[at] ^= 0x40;
            let is_noticed = match template.identify(&damaged) {
                // Another identifier is not damage that one could see: the ledger will not know it.
                Identity::Intact(id) => {
                    (PACKED_ID_AT..PACKED_SUFFIX_AT).contains(&at) && id != 987_654_321_012_345
                }
                Identity::Different(_) => true,
            };
            assert!(is_noticed, "byte {at} was changed and nobody noticed");
        }
        assert_eq!(template.identify(&packed[..200]), Identity::Different(Some(987_654_321_012_345)));
        assert_eq!(template.identify(&message), Identity::Different(None), "not in the encoding asked for");
    }

    #[test]
    fn slices_have_disjoint_rising_identifiers_of_a_fixed_length() {
        for seed in [0, 1, u64::MAX, 0x5eed] {
            let mut end = 0;
            for slice in 0..100 {
                let first = first_id(seed, slice);
                assert!(first >= end, "seed {seed}, slice {slice}");
                assert_eq!(first.to_string().len(), ID_DIGITS);
                end = first + IDS_PER_SLICE / 2;
            }
        }
        assert_eq!(first_id(9, 3), first_id(9, 3));
        assert_ne!(first_id(9, 3), first_id(8, 3));
    }
}
