//! A `PostgreSQL` of one's own.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::folder;
use crate::program::find_postgres_programs;
use crate::{Child, Launch, ProcessError, Signal};

/// How long `initdb` may take; on an idle machine it is about a second.
const CREATE_PATIENCE: Duration = Duration::from_secs(120);

/// How long it may take until the server accepts connections.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// How long the server may take to end.
const STOP_GRACE: Duration = Duration::from_secs(20);

/// Pause between two looks whether it is up.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The one database user, allowed everything.
const USER: &str = "lastmile";

/// Trades all durability for speed: the data never outlives the process.
const SETTINGS: [&str; 8] = [
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "listen_addresses=",
    "max_connections=50",
    "shared_buffers=16MB",
    "autovacuum=off",
    "logging_collector=off",
];

/// A `PostgreSQL` server on a Unix socket in a folder of its own, gone when dropped.
///
/// `PostgreSQL` refuses to run as root; where we are root it runs as the user `postgres`, or else `nobody`.
#[derive(Debug)]
pub struct PrivatePostgres {
    // Declared before the folder, so that the server ends before its folder is removed.
    server: Option<Child>,
    programs: PathBuf,
    user: Option<(u32, u32)>,
    folder: TempDir,
}

impl PrivatePostgres {
    /// Creates a database cluster, starts it and waits until it accepts connections.
    ///
    /// # Errors
    /// [`ProcessError::NotFound`] where `PostgreSQL` is not installed, or why it did not start.
    pub fn start() -> Result<Self, ProcessError> {
        let programs = find_postgres_programs()?;
        let folder = folder::create("lastmile-postgres-")?;
        let user = unprivileged_user();
        if let Some((user_id, group_id)) = user {
            std::os::unix::fs::chown(folder.path(), Some(user_id), Some(group_id))
                .map_err(|source| ProcessError::Folder { path: folder.path().to_owned(), source })?;
        }
        let mut postgres = Self { server: None, programs, user, folder };
        postgres.create_cluster()?;
        postgres.restart()?;
        Ok(postgres)
    }

    /// Its address: `postgres://lastmile@localhost/postgres?host=/…`.
    pub fn url(&self) -> String {
        format!("postgres://{USER}@localhost/postgres?host={}", folder::encode_path(self.folder.path()))
    }

    /// The folder of its socket and data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The running process, `None` after [`PrivatePostgres::stop`].
    pub fn process(&self) -> Option<&Child> {
        self.server.as_ref()
    }

    /// Stops it; its data and address stay for [`PrivatePostgres::restart`].
    ///
    /// # Errors
    /// [`ProcessError::Control`] where the operating system refuses.
    pub fn stop(&mut self) -> Result<(), ProcessError> {
        match self.server.take() {
            Some(server) => server.stop().map(drop),
            None => Ok(()),
        }
    }

    /// Starts it again with the same data at the same address. Stops it before, if it still runs.
    ///
    /// # Errors
    /// As for [`PrivatePostgres::start`].
    pub fn restart(&mut self) -> Result<(), ProcessError> {
        self.stop()?;
        let mut launch = self.launch("postgres").argument("-D").argument(self.data());
        for setting in SETTINGS {
            launch = launch.arguments(["-c", setting]);
        }
        let sockets = format!("unix_socket_directories={}", self.folder.path().display());
        let server = launch
            .arguments(["-c", sockets.as_str()])
            // SIGINT asks for a fast shutdown: connections are cut, shared memory is given back. SIGQUIT does so
            // too, without a checkpoint; SIGKILL would leave the shared memory.
            .stop_with(Signal::INT, STOP_GRACE)
            .orphan_signal(Signal::QUIT)
            .spawn()?;
        wait_until_it_accepts(&server, &self.folder.path().join(".s.PGSQL.5432"))?;
        self.server = Some(server);
        Ok(())
    }

    fn create_cluster(&self) -> Result<(), ProcessError> {
        let initdb = self
            .launch("initdb")
            .argument("-D")
            .argument(self.data())
            .arguments(["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C"])
            .argument("--no-sync")
            .spawn()?;
        match initdb.wait(CREATE_PATIENCE)? {
            Some(status) if status.success() => Ok(()),
            Some(_) => initdb.check_running(),
            None => Err(initdb.timed_out("finish", CREATE_PATIENCE)),
        }
    }

    fn launch(&self, program: &str) -> Launch {
        let launch = Launch::new(program, self.programs.join(program))
            .folder(self.folder.path())
            .environment("LC_ALL", "C")
            // Environment variables of PostgreSQL would override what is said here.
            .environment("PGPORT", "5432")
            .environment("PGDATA", self.data());
        match self.user {
            Some((user_id, group_id)) => launch.user(user_id, group_id),
            None => launch,
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

/// The user a server runs as if we are root, `None` if we are not.
fn unprivileged_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    // 65534 is nobody on every Linux, also where no account file says so.
    Some(account(&accounts, "postgres").or_else(|| account(&accounts, "nobody")).unwrap_or((65534, 65534)))
}

/// User and group of an account in `/etc/passwd`.
fn account(accounts: &str, name: &str) -> Option<(u32, u32)> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let mut numbers = fields.skip(1);
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    })
}

fn wait_until_it_accepts(server: &Child, socket: &Path) -> Result<(), ProcessError> {
    let until = Instant::now() + START_PATIENCE;
    while Instant::now() < until {
        if accepts(socket) {
            return Ok(());
        }
        if server.wait(POLL_INTERVAL)?.is_some() {
            server.check_running()?;
        }
    }
    Err(server.timed_out("accept connections", START_PATIENCE))
}

/// Whether the server lets our user in. Its socket is there before it is ready: it then refuses with an error.
fn accepts(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    let parameters = format!("user\0{USER}\0database\0postgres\0\0");
    let mut startup = Vec::new();
    startup.extend_from_slice(&(parameters.len() as u32 + 8).to_be_bytes());
    // Version 3.0 of the protocol.
    startup.extend_from_slice(&0x0003_0000_u32.to_be_bytes());
    startup.extend_from_slice(parameters.as_bytes());
    let mut kind = [0];
    // 'R' opens the answer to a login; an error would open with 'E'.
    stream.set_read_timeout(Some(Duration::from_secs(5))).is_ok()
        && stream.write_all(&startup).is_ok()
        && stream.read_exact(&mut kind).is_ok()
        && kind == *b"R"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\npostgres2:x:7:8::/:/x\npostgres:x:101:104:P,,:/v:/b\n";
        assert_eq!(account(accounts, "postgres"), Some((101, 104)));
        assert_eq!(account(accounts, "nobody"), None);
    }
}
