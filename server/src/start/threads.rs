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
use crate::running::Handle;
use crate::shard::{Shard, ShardId, ShardInput, ShardSender, ShardSettings};

/// What one shard's thread is made of.
struct ShardParts {
    id: ShardId,
    inbox: mpsc::UnboundedReceiver<ShardInput>,
    sender: ShardSender,
    tcp: TcpListener,
    /// Where rounds are served without a protocol.
    bare: Option<TcpListener>,
    /// Connections are accepted once this comes.
    opened: oneshot::Receiver<()>,
    /// Comes with it, or once an older server has left.
    udp: oneshot::Receiver<UdpSocket>,
    /// On the first shard only.
    source: Option<Source>,
}

/// Where rounds come from: shares the first shard's thread.
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
        inboxes: Vec<mpsc::UnboundedReceiver<ShardInput>>,
        shared: &Shared,
        source: Source,
        end: &mpsc::UnboundedSender<usize>,
    ) -> Result<Vec<Opening>, StartError> {
        let mut source = Some(source);
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
                source: source.take(),
            };
            self.threads.push(spawn_shard(life, shared.clone(), end.clone())?);
        }
        Ok(openings)
    }
}

fn spawn_shard(
    parts: ShardParts,
    shared: Shared,
    end: mpsc::UnboundedSender<usize>,
) -> io::Result<JoinHandle<()>> {
    /// Tells that a thread has ended, however it ended.
    struct Ending(usize, mpsc::UnboundedSender<usize>);
    impl Drop for Ending {
        fn drop(&mut self) {
            // With nobody left to be told, everything is ending.
            let _ = self.1.send(self.0);
        }
    }
    let index = parts.id.index();
    std::thread::Builder::new().name(format!("shard {index}")).spawn(move || {
        let _ending = Ending(index, end);
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
    if let Some(source) = parts.source {
        tokio::spawn(source.ingest.run(source.limit, source.ready));
    }
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
