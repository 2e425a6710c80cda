//! What outlives the server: games and past rounds, in `SQLite` or `PostgreSQL`.
//!
//! Rounds are written by whoever publishes, or by the server that is told to `--persist`. A database that is new gets its tables and
//! the known games when it is first connected to.

mod connect;
mod error;
mod location;
mod rows;

use std::time::Duration;

use lastmile_wire::round::Round;
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, QueryBuilder, SqlitePool};

pub use connect::check_url;
pub use error::StoreError;
pub use location::default_url;
use rows::{GameRow, RoundRow};

/// How long a database may take to answer [`Store::ping`].
const PING_PATIENCE: Duration = Duration::from_secs(2);

/// A game of the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Game {
    /// Identifier, `game_id` of its rounds.
    pub id: u64,
    /// Name in paths and channels.
    pub slug: String,
    /// Name for people.
    pub name: String,
    /// Category.
    #[serde(rename = "type")]
    pub game_type: String,
}

/// A round that owns its fields, and serializes as the message it once was.
pub type StoredRound = Round<'static>;

/// A connected database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    pool: Pool,
}

#[derive(Debug, Clone)]
enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Runs the same expression on whichever pool there is: the SQL is the same, the types are not.
macro_rules! on_pool {
    ($store:expr, $pool:ident => $query:expr) => {
        match &$store.pool {
            Pool::Sqlite($pool) => $query,
            Pool::Postgres($pool) => $query,
        }
    };
}

impl Store {
    /// Connects to `sqlite://path`, `sqlite::memory:` or `postgres://…`, creates what is missing, and brings the
    /// tables up to date. A `PostgreSQL` that is not up yet is waited for until `patience` is over.
    ///
    /// # Errors
    /// [`StoreError`] says what is wrong and what to do about it.
    pub async fn connect(url: &str, patience: Duration) -> Result<Self, StoreError> {
        connect::connect(url, patience).await.map(|pool| Self { pool })
    }

    /// All games, by id.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn games(&self) -> Result<Vec<Game>, StoreError> {
        const SQL: &str = "SELECT id, slug, name, type FROM games ORDER BY id";
        let rows: Vec<GameRow> = on_pool!(self, pool => sqlx::query_as(SQL).fetch_all(pool).await)?;
        rows.into_iter().map(GameRow::into_game).collect()
    }

    /// Adds games, all of them or none; one whose identifier or slug is there already stays as it is.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn add_games(&self, games: &[Game]) -> Result<(), StoreError> {
        on_pool!(self, pool => {
            let mut transaction = pool.begin().await?;
            for game in games {
                sqlx::query(connect::SEED_GAME)
                    .bind(game.id as i64)
                    .bind(&game.slug)
                    .bind(&game.name)
                    .bind(&game.game_type)
                    .execute(&mut *transaction)
                    .await?;
            }
            Ok(transaction.commit().await?)
        })
    }

    /// The newest round of a game, `None` where there is none or no such game.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn latest(&self, slug: &str) -> Result<Option<StoredRound>, StoreError> {
        Ok(self.history_of_game(slug, 1).await?.pop())
    }

    /// The rounds of a game, newest first; none where there is no such game.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn history_of_game(&self, slug: &str, limit: u32) -> Result<Vec<StoredRound>, StoreError> {
        const SQL: &str = "SELECT rounds.id AS round_id, game_id, slug, type, finished_at, extras, timestamp \
            FROM rounds JOIN games ON games.id = rounds.game_id \
            WHERE games.slug = $1 ORDER BY rounds.timestamp DESC, rounds.id DESC LIMIT $2";
        let rows: Vec<RoundRow> = on_pool!(self, pool =>
            sqlx::query_as(SQL).bind(slug).bind(i64::from(limit)).fetch_all(pool).await)?;
        rows.into_iter().map(RoundRow::into_round).collect()
    }

    /// The rounds of all games of a type, newest first; none where there is no such type.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn history_of_type(&self, game_type: &str, limit: u32) -> Result<Vec<StoredRound>, StoreError> {
        // Game by game, each from its index, then merged: one statement over all of them would have both
        // databases sort the type's whole past.
        let mut rounds = Vec::new();
        for game in self.games().await?.into_iter().filter(|game| game.game_type == game_type) {
            rounds.extend(self.history_of_game(&game.slug, limit).await?);
        }
        rounds.sort_unstable_by_key(|round| std::cmp::Reverse((round.timestamp, round.round_id)));
        rounds.truncate(limit as usize);
        Ok(rounds)
    }

    /// Keeps a round, unless one of its id is already kept; tells whether it was new.
    ///
    /// # Errors
    /// [`StoreError::UnknownGame`] where its `game_id` is not in the database, or [`StoreError::Query`].
    pub async fn insert(&self, round: &Round<'_>) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO rounds (id, game_id, finished_at, extras, timestamp) \
            VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING";
        // A validated round's identifiers fit; another one's are refused by the foreign key.
        let inserted = on_pool!(self, pool => sqlx::query(SQL)
            .bind(round.round_id as i64)
            .bind(round.game_id as i64)
            .bind(round.finished_at.as_ref())
            .bind(round.extras.as_ref())
            .bind(round.timestamp)
            .execute(pool)
            .await
            .map(|done| done.rows_affected()));
        match inserted {
            Ok(rows) => Ok(rows > 0),
            Err(sqlx::Error::Database(error)) if error.is_foreign_key_violation() => {
                Err(StoreError::UnknownGame { game_id: round.game_id })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps rounds with one statement, those whose ids are not kept already; tells how many those were. None are kept
    /// where it fails.
    ///
    /// # Errors
    /// As of [`Self::insert`].
    pub async fn insert_all(&self, rounds: &[Round<'_>]) -> Result<u64, StoreError> {
        const INTO: &str = "INSERT INTO rounds (id, game_id, finished_at, extras, timestamp) ";
        let Some(first) = rounds.first() else { return Ok(0) };
        let inserted = on_pool!(self, pool => {
            let mut query = QueryBuilder::new(INTO);
            query.push_values(rounds, |mut row, round| {
                row.push_bind(round.round_id as i64)
                    .push_bind(round.game_id as i64)
                    .push_bind(round.finished_at.to_string())
                    .push_bind(round.extras.to_string())
                    .push_bind(round.timestamp);
            });
            query.push(" ON CONFLICT (id) DO NOTHING");
            query.build().execute(pool).await.map(|done| done.rows_affected())
        });
        match inserted {
            Ok(rows) => Ok(rows),
            Err(sqlx::Error::Database(error)) if error.is_foreign_key_violation() => {
                Err(StoreError::UnknownGame { game_id: first.game_id })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The rounds of a game with identifiers above `since` and not above `to`: the last `limit` of them, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn rounds_between(
        &self,
        slug: &str,
        since: u64,
        to: u64,
        limit: u32,
    ) -> Result<Vec<StoredRound>, StoreError> {
        const SQL: &str = "SELECT rounds.id AS round_id, game_id, slug, type, finished_at, extras, timestamp \
            FROM rounds JOIN games ON games.id = rounds.game_id \
            WHERE games.slug = $1 AND rounds.id > $2 AND rounds.id <= $3 ORDER BY rounds.id DESC LIMIT $4";
        let signed = |id: u64| i64::try_from(id).unwrap_or(i64::MAX);
        let rows: Vec<RoundRow> = on_pool!(self, pool => sqlx::query_as(SQL)
            .bind(slug)
            .bind(signed(since))
            .bind(signed(to))
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await)?;
        rows.into_iter().rev().map(RoundRow::into_round).collect()
    }

    /// Whether a round of this identifier is kept.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn has_round(&self, round_id: u64) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT id FROM rounds WHERE id = $1";
        let Ok(id) = i64::try_from(round_id) else { return Ok(false) };
        let row: Option<(i64,)> =
            on_pool!(self, pool => sqlx::query_as(SQL).bind(id).fetch_optional(pool).await)?;
        Ok(row.is_some())
    }

    /// Whether the database answers, within a bounded time.
    ///
    /// # Errors
    /// [`StoreError::Silent`] or [`StoreError::Query`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        let answer = async { on_pool!(self, pool => sqlx::query("SELECT 1").execute(pool).await.map(drop)) };
        match tokio::time::timeout(PING_PATIENCE, answer).await {
            Ok(answered) => Ok(answered?),
            Err(_) => Err(StoreError::Silent { waited: PING_PATIENCE }),
        }
    }

    /// Gives back all connections; clones of this store can't be used after.
    pub async fn close(&self) {
        on_pool!(self, pool => pool.close().await);
    }
}
