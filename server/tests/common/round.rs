//! Rounds to publish.

use lastmile_wire::channel::KNOWN_GAMES;

/// A round with something in it that careless hands would change: spaces, escapes, letters beyond ASCII.
pub fn round(slug: &str, round_id: u64) -> Vec<u8> {
    with_extras(slug, round_id, r#"{\"point\": \"11.72\", \"said\": \"ol\u00e1, \\\"você\\\"\"}"#)
}

/// A round whose payload has at least this many bytes.
pub fn large_round(slug: &str, round_id: u64, size_bytes: usize) -> Vec<u8> {
    with_extras(slug, round_id, &format!(r#"{{\"pad\": \"{}\"}}"#, "x".repeat(size_bytes)))
}

fn with_extras(slug: &str, round_id: u64, extras: &str) -> Vec<u8> {
    let known = KNOWN_GAMES.iter().find(|game| game.slug == slug);
    let (game_id, game_type) = known.map_or((99, "multiplier"), |game| (game.id, game.game_type));
    format!(
        "{{\"round_id\":{round_id}, \"game_id\":{game_id},\"game_slug\":\"{slug}\",\"game_type\":\"{game_type}\",\
         \"finished_at\":\"2026-01-17T00:45:42.735266-03:00\",\"extras\":\"{extras}\",\"timestamp\":1768621542123}}"
    )
    .into_bytes()
}

/// The identifier of a received round.
pub fn round_id(payload: &[u8]) -> u64 {
    let text = std::str::from_utf8(payload).expect("a round is text");
    let rest = text.strip_prefix("{\"round_id\":").expect("a round begins with its identifier");
    rest.split(',').next().and_then(|digits| digits.parse().ok()).expect("a number")
}
