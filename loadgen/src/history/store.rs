//! The history in `SQLite` or `PostgreSQL`.

use std::fs;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lastmile_reports::history::{Point, Series};
use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyPool, Row};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// How long a database may take to let us in.
const PATIENCE: Duration = Duration::from_secs(15);
/// Others may make the tables of a `SQLite` file at the same moment, which its migrator does not lock against.
const MIGRATION_ATTEMPTS: u32 = 5;

/// Why the history can't be used. No message holds a password.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Not an address of the two kinds.
    #[error(
        "{scheme} is no database URL: use --db sqlite://PATH or --db postgres://USER:PASSWORD@HOST/DATABASE"
    )]
    UnknownScheme {
        /// What stands before the colon.
        scheme: String,
    },
    /// The folder of a file can't be made.
    #[error("could not make the folder {} for the history: {source}; choose another with --db", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database can't be reached or opened.
    #[error(
        "the history can't be opened: {source}; check --db, and that the database is there and lets you in"
    )]
    Open {
        /// What it said.
        source: sqlx::Error,
    },
    /// Its tables could not be brought up to date.
    #[error(
        "the tables of the history could not be prepared: {source}; the database may belong to another program or to a \
         newer lastmile: choose another with --db"
    )]
    Migrate {
        /// What went wrong.
        source: MigrateError,
    },
    /// A query failed.
    #[error("the history failed: {0}")]
    Query(#[from] sqlx::Error),
}

/// A run as the history keeps it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoredRun {
    /// Identifies it.
    pub id: String,
    /// Fingerprint of its machine.
    pub machine: String,
    /// What the machine is, for people.
    pub machine_description: String,
    /// The branch measured.
    pub branch: String,
    /// The revision measured.
    pub revision: String,
    /// When, RFC 3339 in UTC.
    pub measured_at: String,
    /// What its checks say.
    pub verdict: String,
    /// Case, metric and value.
    pub figures: Vec<(String, String, f64)>,
}

/// An open history.
#[derive(Debug, Clone)]
pub struct HistoryStore {
    pool: AnyPool,
}

impl HistoryStore {
    /// Opens it; a file that is not there is made.
    ///
    /// # Errors
    /// [`HistoryError`] says what to check.
    pub async fn open(url: &str) -> Result<Self, HistoryError> {
        install_default_drivers();
        let url = match url.split_once(':') {
            Some(("sqlite", _)) => creating(url)?,
            Some(("postgres" | "postgresql", _)) => url.to_owned(),
            // Only what stands before the colon is repeated: the rest may hold a password.
            Some((scheme, _)) => return Err(HistoryError::UnknownScheme { scheme: format!("{scheme}:…") }),
            None => return Err(HistoryError::UnknownScheme { scheme: format!("{url:?}") }),
        };
        let pool = AnyPoolOptions::new()
            // One at a time asks; and a database in memory lives in its one connection.
            .max_connections(1)
            .acquire_timeout(PATIENCE)
            .connect(&url)
            .await
            .map_err(|source| HistoryError::Open { source })?;
        let mut attempt = 1;
        while let Err(source) = MIGRATIONS.run(&pool).await {
            if attempt >= MIGRATION_ATTEMPTS
                || !matches!(source, MigrateError::Execute(_) | MigrateError::ExecuteMigration(..))
            {
                return Err(HistoryError::Migrate { source });
            }
            attempt += 1;
        }
        Ok(Self { pool })
    }

    /// Adds a run, whole or not at all. `false` where it is there already.
    ///
    /// # Errors
    /// [`HistoryError::Query`].
    pub async fn add(&self, run: &StoredRun) -> Result<bool, HistoryError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("INSERT INTO machines (fingerprint, description) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(&run.machine)
            .bind(&run.machine_description)
            .execute(&mut *transaction)
            .await?;
        let added = sqlx::query(
            "INSERT INTO runs (id, machine, branch, revision, measured_at, verdict) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        )
        .bind(&run.id)
        .bind(&run.machine)
        .bind(&run.branch)
        .bind(&run.revision)
        .bind(&run.measured_at)
        .bind(&run.verdict)
        .execute(&mut *transaction)
        .await?;
        if added.rows_affected() == 0 {
            return Ok(false);
        }
        for (case, metric, value) in &run.figures {
            sqlx::query("INSERT INTO figures (run, case_name, metric, value) VALUES ($1, $2, $3, $4)")
                .bind(&run.id)
                .bind(case)
                .bind(metric)
                .bind(*value)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// The runs of a branch, or of all, in the order measured; without their figures.
    ///
    /// # Errors
    /// [`HistoryError::Query`].
    pub async fn runs(&self, branch: Option<&str>) -> Result<Vec<StoredRun>, HistoryError> {
        let rows = sqlx::query(
            "SELECT runs.id, machine, description, branch, revision, measured_at, verdict FROM runs \
             JOIN machines ON machines.fingerprint = runs.machine \
             WHERE $1 = '' OR branch = $2 ORDER BY measured_at, runs.id",
        )
        .bind(branch.unwrap_or_default())
        .bind(branch.unwrap_or_default())
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(StoredRun {
                    id: row.try_get(0)?,
                    machine: row.try_get(1)?,
                    machine_description: row.try_get(2)?,
                    branch: row.try_get(3)?,
                    revision: row.try_get(4)?,
                    measured_at: row.try_get(5)?,
                    verdict: row.try_get(6)?,
                    figures: Vec::new(),
                })
            })
            .collect()
    }

    /// Every series of a branch, in the order measured; each is of one machine, one case and one metric.
    ///
    /// # Errors
    /// [`HistoryError::Query`].
    pub async fn series(&self, branch: &str) -> Result<Vec<Series>, HistoryError> {
        let rows = sqlx::query(
            "SELECT machine, case_name, metric, measured_at, revision, value FROM figures \
             JOIN runs ON runs.id = figures.run WHERE branch = $1 \
             ORDER BY machine, case_name, metric, measured_at, runs.id",
        )
        .bind(branch)
        .fetch_all(&self.pool)
        .await?;
        let mut all: Vec<Series> = Vec::new();
        for row in &rows {
            let (machine, case, metric): (String, String, String) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let point =
                Point { measured_at: row.try_get(3)?, revision: row.try_get(4)?, value: row.try_get(5)? };
            match all.last_mut() {
                Some(last) if last.machine == machine && last.case == case && last.metric == metric => {
                    last.points.push(point);
                }
                _ => {
                    all.push(Series {
                        machine,
                        branch: branch.to_owned(),
                        case,
                        metric,
                        points: vec![point],
                    });
                }
            }
        }
        Ok(all)
    }

    /// Gives the database back.
    pub async fn close(self) {
        self.pool.close().await;
    }
}

/// The URL of a file that is made where it is missing, its folder too.
fn creating(url: &str) -> Result<String, HistoryError> {
    let options = SqliteConnectOptions::from_str(url).map_err(|source| HistoryError::Open { source })?;
    if url.contains(":memory:") || url.contains("mode=") {
        return Ok(url.to_owned());
    }
    if let Some(folder) = options.get_filename().parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)
            .map_err(|source| HistoryError::Folder { path: folder.to_owned(), source })?;
    }
    Ok(format!("{url}{}mode=rwc", if url.contains('?') { '&' } else { '?' }))
}
