//! The shards' threads: what each is made of, and its life.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, warn};

use super::StartError;
use super::ports::{Opening, Ports};
use crate::catalog::Catalog;
use crate::certificate::Certificate;
use crate::connect::Entrance;
use crate::hub::Hub;
use crate::ingest::{Ingest, IngestError};
use crate::protocol::webtransport::Sessions;
use crate::running::{Handle, ServeError};
use crate::shard::{Inbox, Shard, ShardId, ShardSender, ShardSettings};

/// What one shard's thread is made of.
struct ShardParts {
    id: ShardId,
    inbox: Inbox,
    sender: ShardSender,
    tcp: TcpListener,
    /// Where rounds are served without a protocol.
    bare: Option<TcpListener>,
    /// Connections are accepted once this comes.
    opened: oneshot::Receiver<()>,
    /// Comes with it, or once an older server has left.
    udp: oneshot::Receiver<UdpSocket>,
}

/// Where rounds come from.
pub(super) struct Source {
    pub(super) ingest: Ingest,
    pub(super) limit: Duration,
    pub(super) ready: oneshot::Sender<Result<(), IngestError>>,
}

/// What all shards' threads share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) settings: ShardSettings,
    pub(super) catalog: Arc<Catalog>,
    pub(super) hub: Hub,
    pub(super) entrance: Arc<Entrance>,
    pub(super) certificate: Certificate,
    /// Connections are accepted until this is true.
    pub(super) leaving: watch::Receiver<bool>,
    pub(super) stop: watch::Receiver<bool>,
}

impl Handle {
    /// Starts a thread for each shard; gives what opens them.
    pub(super) fn spawn_shards(
        &mut self,
        ports: &Ports,
        inboxes: Vec<Inbox>,
        shared: &Shared,
        end: &mpsc::UnboundedSender<ServeError>,
    ) -> Result<Vec<Opening>, StartError> {
        let mut openings = Vec::new();
        for (index, (inbox, tcp)) in inboxes.into_iter().zip(&ports.tcp.sockets).enumerate() {
            let ((open, opened), (udp, udp_received)) = (oneshot::channel(), oneshot::channel());
            openings.push(Opening { tcp: open, udp });
            let life = ShardParts {
                id: ShardId(index),
                inbox,
                sender: self.shards[index].clone(),
                tcp: tcp.try_clone()?,
                bare: ports.bare.as_ref().map(|port| port.sockets[index].try_clone()).transpose()?,
                opened,
                udp: udp_received,
            };
            self.threads.push(spawn_shard(life, shared.clone(), end.clone())?);
        }
        Ok(openings)
    }

    /// Starts the thread that brings the rounds.
    pub(super) fn spawn_source(
        &mut self,
        source: Source,
        end: mpsc::UnboundedSender<ServeError>,
    ) -> io::Result<()> {
        let Source { ingest, limit, ready } = source;
        self.ingest = Some(ingest.stop());
        self.threads.push(std::thread::Builder::new().name("ingest".to_owned()).spawn(move || {
            let _ending = Ending(Some(ServeError::IngestEnded), end);
            // A shard that is busy on the same core would keep a round waiting for milliseconds.
            lastmile_processes::run_in_short_turns();
            ingest.run(limit, ready);
        })?);
        Ok(())
    }
}

/// Tells that a thread has ended, however it ended.
struct Ending(Option<ServeError>, mpsc::UnboundedSender<ServeError>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(ended) = self.0.take() {
            // With nobody left to be told, everything is ending.
            let _ = self.1.send(ended);
        }
    }
}

fn spawn_shard(
    parts: ShardParts,
    shared: Shared,
    end: mpsc::UnboundedSender<ServeError>,
) -> io::Result<JoinHandle<()>> {
    let index = parts.id.index();
    std::thread::Builder::new().name(format!("shard {index}")).spawn(move || {
        let _ending = Ending(Some(ServeError::ShardEnded(index)), end);
        let ran = Builder::new_current_thread()
            .enable_all()
            .build()
            .and_then(|runtime| runtime.block_on(run_shard(parts, shared)));
        if let Err(error) = ran {
            warn!(shard = index, %error, "a shard could not run");
        }
    })
}

/// The life of a shard's thread.
async fn run_shard(parts: ShardParts, common: Shared) -> io::Result<()> {
    let metrics = Arc::clone(&common.entrance.metrics);
    let shard = Shard::new(parts.id, common.catalog, common.settings, common.hub, metrics)?;
    // A start that has failed never opens.
    let Ok(()) = parts.opened.await else { return Ok(()) };
    let listener = tokio::net::TcpListener::from_std(parts.tcp)?;
    let Shared { entrance, certificate, leaving, mut stop, .. } = common;
    let connections = Arc::clone(&entrance).accept(listener, parts.sender.clone(), leaving.clone());
    if let Some(listener) = parts.bare {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (entrance, shard) = (Arc::clone(&entrance), parts.sender.clone());
        tokio::spawn(entrance.accept_bare(listener, shard, leaving.clone()));
    }
    let sessions = async move {
        let udp = tokio::select! {
            udp = parts.udp => udp,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let Ok(udp) = udp else { return Ok(()) };
        let sessions = Sessions::new(udp, &certificate.webtransport(), entrance, parts.id, parts.sender)?;
        sessions.accept(leaving, stop).await;
        Ok(())
    };
    let accepting = tokio::spawn(async move {
        let (connections, sessions): (io::Result<()>, io::Result<()>) = tokio::join!(connections, sessions);
        if let Err(error) = connections.and(sessions) {
            error!(%error, "a shard takes no clients");
        }
    });
    // As a task like the others: the future a runtime blocks on is polled only after a look at its sockets.
    if let Err(error) = tokio::spawn(shard.run(parts.inbox)).await
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
    // What still runs then, a goodbye that nobody takes, ends with the thread.
    let _ = accepting.await;
    Ok(())
}
