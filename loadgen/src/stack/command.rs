//! Any server that a command line starts.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use lastmile_processes::{Child, Launch, ProcessError};
use rustix::thread::CpuSet;

use crate::redis::RedisUrl;
use crate::target::{Paths, Target};
use crate::transport::HttpServer;

/// Pause between two looks whether it listens.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A command line for `/bin/sh` that starts a server and stays in its foreground. `{port}` in it and `PORT` in its
/// environment say where it is to listen on 127.0.0.1; `{redis}` and `REDIS_URL` where it gets its messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerCommand {
    /// The command line.
    pub line: String,
    /// Paths of its streams that are not those of the contract.
    pub paths: Paths,
}

impl ServerCommand {
    /// Starts it at a port that is free now, on these cores or on any.
    ///
    /// # Errors
    /// [`ProcessError`] where it can't be started.
    pub fn spawn(
        &self,
        redis: &RedisUrl,
        cores: Option<CpuSet>,
    ) -> Result<(Child, SocketAddr), ProcessError> {
        // Given up again: a foreign server can't take over a socket. Whoever takes the port meanwhile shows at once.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = address.map_err(|source| ProcessError::Spawn {
            name: "a free port for the server".to_owned(),
            program: "/bin/sh".into(),
            source,
        })?;
        let port = address.port().to_string();
        let redis = redis.with_password();
        let line = self.line.replace("{port}", &port).replace("{redis}", &redis);
        let child = Launch::new("the server's command", "/bin/sh")
            // The shell gives way to the server, whose processor time is to be observed.
            .arguments(["-c", &format!("exec {line}")])
            .environment("PORT", &port)
            .environment("REDIS_URL", &redis)
            .environment("LASTMILE_REDIS", &redis)
            .cores(cores)
            .spawn()?;
        Ok((child, address))
    }

    /// Waits until it listens.
    ///
    /// # Errors
    /// [`ProcessError`] with the end of its log where it ended or takes too long.
    pub fn wait_until_it_listens(
        &self,
        child: &Child,
        address: SocketAddr,
        patience: Duration,
    ) -> Result<Target, ProcessError> {
        let until = Instant::now() + patience;
        while TcpStream::connect_timeout(&address, LOOK_INTERVAL).is_err() {
            if Instant::now() > until {
                return Err(child.timed_out("listen at the port it was given", patience));
            }
            if child.wait(LOOK_INTERVAL)?.is_some() {
                child.check_running()?;
            }
        }
        Ok(Target {
            http: Some(HttpServer { address, host: address.to_string() }),
            paths: self.paths.clone(),
            ..Target::default()
        })
    }
}
