//! Runs of the real server, each in a place of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use lastmile_processes::PrivateRedis;
use lastmile_reports::schema::RunResult;

use super::{lastmile, server_program, text};

/// A place of its own for a run: everything it starts can be told from everything else by this path.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("lm-").tempdir().unwrap();
        fs::create_dir(folder.path().join("temporary")).unwrap();
        std::os::unix::fs::symlink(server_program(), folder.path().join("lastmile-server")).unwrap();
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn start(&self, flags: &str) -> Child {
        let mut command = lastmile(&["run", "--out", "out"]);
        command.args(flags.split(' ')).current_dir(self.path());
        command.env("LASTMILE_SERVER_BIN", self.path().join("lastmile-server"));
        command.env("TMPDIR", self.path().join("temporary")).spawn().unwrap()
    }

    /// The same with a Redis of the test's own, once that has seen so many publishes.
    pub fn start_and_see(&self, flags: &str, published: u64) -> (Child, PrivateRedis) {
        let redis = PrivateRedis::start().unwrap();
        let mut child = self.start(&format!("--redis {} {flags}", redis.url()));
        wait_for(&mut child, "the first messages", || publishes(&redis) >= published);
        (child, redis)
    }

    /// What a run started and is still there: pid and command line.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let path = self.path().to_string_lossy().into_owned();
        let pids = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().to_string_lossy().parse::<i32>().ok());
        let belongs = pids.filter_map(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let folder = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
            let command = text(&command).replace('\0', " ");
            // The run itself works in the place, its children name it or work below it.
            let below = folder.starts_with(self.path().join("temporary"));
            (below || command.starts_with(&path)).then_some((pid, command))
        });
        belongs.collect()
    }

    /// Nothing is left: no process, no socket, no folder.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert_eq!(self.processes(), []);
        let left: Vec<PathBuf> =
            fs::read_dir(self.path().join("temporary")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    pub fn written(&self) -> RunResult {
        lastmile_reports::store::read(&self.path().join("out/result.json")).unwrap()
    }
}

/// Waits for something that is bound to happen; a run that ends before, fails the test with what it said.
#[track_caller]
pub fn wait_for(child: &mut Child, what: &str, mut happened: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !happened() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before {what}");
        assert!(Instant::now() < until, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// How many publishes a Redis has seen.
pub fn publishes(redis: &PrivateRedis) -> u64 {
    let reply = redis.command(&[b"INFO", b"commandstats"]).unwrap();
    let statistics = text(reply.bytes().unwrap());
    let calls = statistics.lines().find_map(|line| line.strip_prefix("cmdstat_publish:calls="));
    calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
}
