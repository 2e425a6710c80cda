//! Who is at the door, and those for whom there is no room.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tracing::warn;

use super::{Entrance, Refusal};
use crate::guard::{Permit, Refused};
use crate::seldom::Seldom;

/// Time somebody who is turned away has to take the answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// How many are being answered that they are turned away, at most; whoever comes beyond that is only cut off.
const ANSWERED_AT_ONCE: u32 = 64;

/// A client whose connection was taken.
#[derive(Debug)]
pub struct Visitor {
    /// The other end of the connection; not the client itself where that is a proxy.
    pub peer: IpAddr,
    /// Its place among the connections.
    pub permit: Permit,
}

/// One of those that are being counted, however it ends.
#[derive(Debug)]
pub struct Underway(Arc<AtomicU32>);

impl Underway {
    /// Counts it.
    pub fn new(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Entrance {
    /// Tells somebody why there is no connection for it, while few are to be told.
    pub(super) fn turn_away(&self, mut stream: TcpStream, reason: Refused) {
        self.metrics.handshakes_failed.add(1);
        let answering = Underway::new(&self.being_answered);
        // A TLS handshake costs more than all the rest, and is what whoever floods the server wants.
        if self.being_answered.load(Relaxed) > ANSWERED_AT_ONCE || self.tls.is_some() {
            return;
        }
        tokio::spawn(async move {
            let _answering = answering;
            let answer = async {
                // With the request unread, closing would reset the connection before the answer is seen.
                let mut request = [0; 2048];
                let _ = stream.read(&mut request).await?;
                stream.write_all(&Refusal::from(reason).to_http()).await?;
                stream.shutdown().await
            };
            // Who does not take its answer needs none.
            let _ = tokio::time::timeout(ANSWER_LIMIT, answer).await;
        });
    }
}

/// A descriptor kept for the moment when there is none: with it, a connection can be taken off the queue and closed
/// instead of being left to wait for nothing.
#[derive(Debug)]
pub(super) struct Spare {
    descriptor: Option<File>,
    warning: Seldom,
}

impl Spare {
    pub(super) fn new() -> Self {
        Self { descriptor: File::open("/dev/null").ok(), warning: Seldom::default() }
    }

    /// Says that a connection could not be accepted, and closes one.
    pub(super) fn close_one(&mut self, listener: &TcpListener, error: &io::Error) {
        if self.warning.is_due() {
            warn!(%error, "could not accept a connection; the limit of file descriptors may be reached (ulimit -n)");
        }
        let is_out_of_descriptors =
            [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(rustix::io::Errno::raw_os_error);
        if error.raw_os_error().is_some_and(|number| is_out_of_descriptors.contains(&number)) {
            self.descriptor = None;
            // Dropped at once. Somebody else may have been faster with the descriptor; then the next one is closed.
            drop(rustix::net::accept(listener.as_fd()));
            self.descriptor = File::open("/dev/null").ok();
        }
    }
}
