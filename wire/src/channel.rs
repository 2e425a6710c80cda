//! Names in Redis and the games every database starts with.

/// Prefix of the Pub/Sub channel of a game: `stream:{slug}`.
pub const STREAM_PREFIX: &str = "stream:";

/// Prefix of the key that holds a game's latest round: `latest:{slug}`.
pub const LATEST_PREFIX: &str = "latest:";

/// The Pub/Sub channel that carries a game's rounds.
pub fn stream_channel(slug: &str) -> String {
    format!("{STREAM_PREFIX}{slug}")
}

/// The key that holds a game's latest round.
pub fn latest_key(slug: &str) -> String {
    format!("{LATEST_PREFIX}{slug}")
}

/// The slug of the game a Pub/Sub channel belongs to, `None` for a channel of someone else's.
pub fn slug_of_channel(channel: &str) -> Option<&str> {
    channel.strip_prefix(STREAM_PREFIX).filter(|slug| !slug.is_empty())
}

/// A game as a new database is seeded with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownGame {
    /// Identifier in the database and in `game_id`.
    pub id: u32,
    /// Name in paths, channels and `game_slug`.
    pub slug: &'static str,
    /// Name for people.
    pub name: &'static str,
    /// Category, the `{type}` of paths and `game_type`.
    pub game_type: &'static str,
}

/// The games every new database holds. A database may hold others: it is the authority, this is its seed.
pub const KNOWN_GAMES: [KnownGame; 4] = [
    KnownGame { id: 1, slug: "crash", name: "Crash", game_type: "multiplier" },
    KnownGame { id: 2, slug: "double", name: "Double", game_type: "color" },
    KnownGame { id: 3, slug: "slot", name: "Slot", game_type: "slots" },
    KnownGame { id: 4, slug: "wall-street", name: "Wall Street", game_type: "trending" },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_leads_back_to_its_slug() {
        assert_eq!(slug_of_channel(&stream_channel("wall-street")), Some("wall-street"));
        assert_eq!(slug_of_channel("stream:"), None);
        assert_eq!(slug_of_channel("latest:crash"), None);
    }
}
