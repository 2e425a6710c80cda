//! The server's program, as a process of its own.

use lastmile_processes::{Child, Launch, PrivateRedis};

use super::{PATIENCE, Place};

/// A running program that has said it is ready.
pub struct Program {
    pub child: Child,
    pub place: Place,
    pub redis_url: String,
}

impl Program {
    /// Starts it with these flags beyond those every test needs.
    pub fn start(redis: &PrivateRedis, flags: &[&str]) -> Self {
        let url = redis.url();
        let usual = ["--listen", "127.0.0.1:0", "--wt-listen", "127.0.0.1:0", "--redis", url.as_str()];
        Self::start_at(&url, &usual, flags)
    }

    /// Starts it where an older one is, to take it over.
    pub fn take_over(redis_url: &str, older: &Place, flags: &[&str]) -> Self {
        let (http, webtransport) = (older.http.to_string(), older.webtransport.to_string());
        let usual =
            ["--listen", http.as_str(), "--wt-listen", &webtransport, "--redis", redis_url, "--take-over"];
        Self::start_at(redis_url, &usual, flags)
    }

    fn start_at(redis_url: &str, usual: &[&str], flags: &[&str]) -> Self {
        let child =
            Self::launch(&[usual, &["--database", "sqlite::memory:", "--shards", "2"], flags].concat());
        let line = child.read_line(PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        let place = Place::of_ready_line(&line);
        Self { child, place, redis_url: redis_url.to_owned() }
    }

    /// Starts it with so many file descriptors and no more.
    pub fn start_limited(redis: &PrivateRedis, descriptors: u32, flags: &[&str]) -> Self {
        let url = redis.url();
        let program = env!("CARGO_BIN_EXE_lastmile-server");
        let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
        let usual = ["--listen", "127.0.0.1:0", "--wt-listen", "127.0.0.1:0", "--redis", url.as_str()];
        let child = Launch::new("lastmile-server", "/bin/sh")
            .arguments(["-c", &script, program])
            .arguments(usual)
            .arguments(["--database", "sqlite::memory:"])
            .arguments(flags)
            .spawn()
            .expect("a process");
        let line = child.read_line(PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        let place = Place::of_ready_line(&line);
        Self { child, place, redis_url: url }
    }

    /// Starts it with these flags and nothing else.
    pub fn launch(flags: &[&str]) -> Child {
        let program = env!("CARGO_BIN_EXE_lastmile-server");
        Launch::new("lastmile-server", program).arguments(flags).spawn().expect("a process")
    }
}
