//! Getting in: opening or reaching a database, and bringing its tables up to date.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use lastmile_wire::channel::KNOWN_GAMES;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool, SqlitePool};
use tokio::time::{Instant, sleep, timeout_at};

use super::{Pool, StoreError};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

pub(super) const SEED_GAME: &str =
    "INSERT INTO games (id, slug, name, type) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";

/// Connections kept at most: REST, history and writing share them.
const MAX_CONNECTIONS: u32 = 8;

/// How long a query may wait for a free connection.
const ACQUIRE_PATIENCE: Duration = Duration::from_secs(5);

/// How long a statement may wait for another process that writes to the same `SQLite` file.
const BUSY_PATIENCE: Duration = Duration::from_secs(10);

/// How often the tables of a `SQLite` file are brought up to date while others do the same.
const MIGRATION_ATTEMPTS: u32 = 5;

/// Pause between two attempts to reach a server.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// `PostgreSQL`'s word for a server that is still starting or already stopping.
const CANNOT_CONNECT_NOW: &str = "57P03";

pub(super) async fn connect(url: &str, patience: Duration) -> Result<Pool, StoreError> {
    let deadline = Instant::now() + patience;
    match url.split_once(':') {
        Some(("sqlite", _)) => open_sqlite(url).await.map(Pool::Sqlite),
        Some(("postgres" | "postgresql", _)) => {
            reach_postgres(url, patience, deadline).await.map(Pool::Postgres)
        }
        // Only what stands before the colon is repeated: the rest may hold a password.
        Some((scheme, _)) => Err(StoreError::UnknownScheme { given: format!("{scheme}:…") }),
        None => Err(StoreError::UnknownScheme { given: url.to_owned() }),
    }
}

/// Where a database would be, as it may be shown; nothing is opened.
///
/// # Errors
/// [`StoreError`] where the URL is none.
pub fn check_url(url: &str) -> Result<String, StoreError> {
    let unreadable = |source| StoreError::InvalidUrl { source };
    match url.split_once(':') {
        Some(("sqlite", _)) if url.contains(":memory:") || url.contains("mode=memory") => {
            Ok("SQLite in memory".to_owned())
        }
        Some(("sqlite", _)) => {
            let options = SqliteConnectOptions::from_str(url).map_err(unreadable)?;
            Ok(format!("SQLite, {}", options.get_filename().display()))
        }
        Some(("postgres" | "postgresql", _)) => {
            let options = PgConnectOptions::from_str(url).map_err(unreadable)?;
            let database = options.get_database().unwrap_or_default();
            Ok(format!("PostgreSQL, {}:{}/{database}", options.get_host(), options.get_port()))
        }
        Some((scheme, _)) => Err(StoreError::UnknownScheme { given: format!("{scheme}:…") }),
        None => Err(StoreError::UnknownScheme { given: url.to_owned() }),
    }
}

async fn open_sqlite(url: &str) -> Result<SqlitePool, StoreError> {
    let options = SqliteConnectOptions::from_str(url).map_err(|source| StoreError::InvalidUrl { source })?;
    let in_memory = url.contains(":memory:") || url.contains("mode=memory");
    let (options, pool) = if in_memory {
        // One connection that is never given up: the database lives and dies with it.
        let pool = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        (options, pool)
    } else {
        create_folder(options.get_filename())?;
        let options = options
            .create_if_missing(true)
            // Readers and a writer of other processes don't stop each other; nothing here is worth an fsync a row.
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_PATIENCE);
        (options, SqlitePoolOptions::new().max_connections(MAX_CONNECTIONS))
    };
    let address =
        if in_memory { "in memory".to_owned() } else { options.get_filename().display().to_string() };
    let pool = pool
        .acquire_timeout(ACQUIRE_PATIENCE)
        .connect_with(options.disable_statement_logging())
        .await
        .map_err(|source| StoreError::Open { address: address.clone(), source })?;
    migrate_sqlite(&pool).await.map_err(|source| StoreError::Migrate { address, source })?;
    Ok(pool)
}

fn create_folder(file: &Path) -> Result<(), StoreError> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => std::fs::create_dir_all(folder)
            .map_err(|source| StoreError::Folder { path: folder.to_owned(), source }),
        _ => Ok(()),
    }
}

async fn migrate_sqlite(pool: &SqlitePool) -> Result<(), MigrateError> {
    // The migrator's own lock does nothing on SQLite. Where servers start at once, one of them makes the tables,
    // and the others fail to: they look again and find them made.
    let mut attempt = 1;
    loop {
        match MIGRATIONS.run(pool).await {
            Err(MigrateError::Execute(_) | MigrateError::ExecuteMigration(..))
                if attempt < MIGRATION_ATTEMPTS =>
            {
                attempt += 1;
            }
            Err(error) => return Err(error),
            Ok(()) => break,
        }
    }
    for game in KNOWN_GAMES {
        sqlx::query(SEED_GAME)
            .bind(i64::from(game.id))
            .bind(game.slug)
            .bind(game.name)
            .bind(game.game_type)
            .execute(pool)
            .await?;
    }
    Ok(())
}

async fn reach_postgres(url: &str, patience: Duration, deadline: Instant) -> Result<PgPool, StoreError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|source| StoreError::InvalidUrl { source })?
        .application_name("lastmile")
        .disable_statement_logging();
    let address = postgres_address(&options);
    wait_for_postgres(&options, &address, patience, deadline).await?;
    let pool = PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_PATIENCE)
        .connect_lazy_with(options);
    match timeout_at(deadline, migrate_postgres(&pool)).await {
        Ok(migrated) => migrated.map_err(|source| StoreError::Migrate { address, source })?,
        Err(_) => return Err(StoreError::Unreachable { address, waited: patience, source: silent() }),
    }
    Ok(pool)
}

/// Tries until someone answers or the time is over, and then says why the last attempt failed.
async fn wait_for_postgres(
    options: &PgConnectOptions,
    address: &str,
    patience: Duration,
    deadline: Instant,
) -> Result<(), StoreError> {
    let mut last = silent();
    while Instant::now() < deadline {
        match timeout_at(deadline, PgConnection::connect_with(options)).await {
            Ok(Ok(connection)) => {
                // The pool opens its own. A failure to say goodbye changes nothing.
                let _ = connection.close().await;
                return Ok(());
            }
            Ok(Err(error)) if may_pass(&error) => last = error,
            Ok(Err(source)) => return Err(StoreError::Refused { address: address.to_owned(), source }),
            Err(_) => break,
        }
        sleep(RETRY_INTERVAL.min(deadline.saturating_duration_since(Instant::now()))).await;
    }
    Err(StoreError::Unreachable { address: address.to_owned(), waited: patience, source: last })
}

/// Whether waiting can help: the server is not there (yet), or says that it is still starting.
fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => error.code().as_deref() == Some(CANNOT_CONNECT_NOW),
        _ => false,
    }
}

async fn migrate_postgres(pool: &PgPool) -> Result<(), MigrateError> {
    // Servers that start at once take turns: the migrator holds an advisory lock of the database.
    MIGRATIONS.run(pool).await?;
    for game in KNOWN_GAMES {
        sqlx::query(SEED_GAME)
            .bind(i64::from(game.id))
            .bind(game.slug)
            .bind(game.name)
            .bind(game.game_type)
            .execute(pool)
            .await?;
    }
    Ok(())
}

/// The server for messages, without its password.
fn postgres_address(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(folder) => format!("PostgreSQL in {} (database {database})", folder.display()),
        None => format!("PostgreSQL at {}:{} (database {database})", options.get_host(), options.get_port()),
    }
}

fn silent() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::from(std::io::ErrorKind::TimedOut))
}
