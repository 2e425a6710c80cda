//! Rows as they lie in the tables.

use lastmile_wire::round::Round;
use sqlx::FromRow;

use super::{Game, StoreError, StoredRound};

/// A row of `games`.
#[derive(FromRow)]
pub(super) struct GameRow {
    id: i64,
    slug: String,
    name: String,
    #[sqlx(rename = "type")]
    game_type: String,
}

impl GameRow {
    pub(super) fn into_game(self) -> Result<Game, StoreError> {
        let id = identifier("games.id", self.id)?;
        Ok(Game { id, slug: self.slug, name: self.name, game_type: self.game_type })
    }
}

/// A row of `rounds` with its game.
#[derive(FromRow)]
pub(super) struct RoundRow {
    round_id: i64,
    game_id: i64,
    slug: String,
    #[sqlx(rename = "type")]
    game_type: String,
    finished_at: String,
    extras: String,
    timestamp: i64,
}

impl RoundRow {
    pub(super) fn into_round(self) -> Result<StoredRound, StoreError> {
        Ok(Round {
            round_id: identifier("rounds.id", self.round_id)?,
            game_id: identifier("rounds.game_id", self.game_id)?,
            game_slug: self.slug.into(),
            game_type: self.game_type.into(),
            finished_at: self.finished_at.into(),
            extras: self.extras.into(),
            timestamp: self.timestamp,
        })
    }
}

/// Databases know signed numbers only, so somebody else's row can hold one that is no identifier.
fn identifier(column: &'static str, value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::NegativeIdentifier { column, value })
}
