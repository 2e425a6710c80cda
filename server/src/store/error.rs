//! What can go wrong with a database, said so that its reader knows what to do.

use std::path::PathBuf;
use std::time::Duration;

/// Why the database could not be used. No message holds a password.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no database we know.
    #[error(
        "{given} is no database URL: use sqlite://PATH, sqlite::memory: or \
         postgres://USER:PASSWORD@HOST/DATABASE (--database)"
    )]
    UnknownScheme {
        /// What stands before the colon.
        given: String,
    },
    /// The URL names a kind we know, but can't be read further.
    #[error("the database URL can't be read: {source} (--database)")]
    InvalidUrl {
        /// What the parser said.
        source: sqlx::Error,
    },
    /// Neither `XDG_DATA_HOME` nor `HOME` says where a user's data belongs.
    #[error(
        "there is no folder for the database file: set HOME or XDG_DATA_HOME, or say where it belongs with \
         --database sqlite://PATH"
    )]
    NoDataFolder,
    /// The folder of the `SQLite` file can't be made.
    #[error("could not make the folder {} for the database file: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The `SQLite` file can't be opened or created.
    #[error(
        "could not open the database {address}: {source}; check that its folder can be written, or choose \
         another file with --database sqlite://PATH"
    )]
    Open {
        /// Which database.
        address: String,
        /// What `SQLite` said.
        source: sqlx::Error,
    },
    /// The server did not let us in within the time given.
    #[error(
        "{address} could not be reached within {waited:?}: {source}; check that it runs and accepts connections \
         there, or use another database with --database"
    )]
    Unreachable {
        /// Which database.
        address: String,
        /// How long was tried.
        waited: Duration,
        /// Why the last attempt failed.
        source: sqlx::Error,
    },
    /// The server answered, and refused.
    #[error(
        "{address} refused the connection: {source}; check user, password and database name (--database)"
    )]
    Refused {
        /// Which database.
        address: String,
        /// What it said.
        source: sqlx::Error,
    },
    /// The tables could not be brought up to date.
    #[error(
        "could not prepare the tables of {address}: {source}; it may belong to another program or to a newer \
         lastmile: choose another database with --database"
    )]
    Migrate {
        /// Which database.
        address: String,
        /// What went wrong.
        source: sqlx::migrate::MigrateError,
    },
    /// A round of a game that is not in the database.
    #[error("game_id {game_id} is not in the database: add the game to its table first")]
    UnknownGame {
        /// The round's `game_id`.
        game_id: u64,
    },
    /// A row written by someone else holds what no message can carry.
    #[error("{column} holds {value}, but identifiers are never negative")]
    NegativeIdentifier {
        /// Table and column.
        column: &'static str,
        /// What it holds.
        value: i64,
    },
    /// The database does not answer.
    #[error("the database did not answer within {waited:?}")]
    Silent {
        /// How long was waited.
        waited: Duration,
    },
    /// A query failed.
    #[error("the database failed: {0}")]
    Query(#[from] sqlx::Error),
}
