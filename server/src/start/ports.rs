//! The ports of a server that starts, and the moment from which clients may come.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{error, info};

use super::StartError;
use crate::config::Config;
use crate::connect::{ListenError, SharedPort, listen};
use crate::running::Handle;

/// Time between two looks at whether an older server has given up its UDP port: short, since nobody answers meanwhile.
const UDP_RETRY_INTERVAL: Duration = Duration::from_millis(2);

/// The ports of a server that starts.
pub(super) struct Ports {
    pub(super) tcp: SharedPort<TcpListener>,
    /// Of those who speak no protocol.
    pub(super) bare: Option<SharedPort<TcpListener>>,
    /// None where an older server has it still.
    pub(super) udp: Option<SharedPort<UdpSocket>>,
    pub(super) webtransport: SocketAddr,
}

impl Ports {
    /// Binds them; those of a port that is to be taken over are not listened on yet.
    pub(super) fn have(config: &Config, count: usize) -> Result<Self, StartError> {
        if config.take_over && (config.listen.port() == 0 || config.wt_listen.port() == 0) {
            return Err(StartError::NothingToTakeOver);
        }
        let tcp = SharedPort::tcp(config.listen, count, "--listen", config.take_over)?;
        let bare = config.tcp_listen.map(|address| SharedPort::tcp(address, count, "--tcp-listen", false));
        let udp = (!config.take_over)
            .then(|| SharedPort::udp(config.wt_listen, count, "--wt-listen"))
            .transpose()?;
        let webtransport = udp.as_ref().map_or(config.wt_listen, |port| port.address);
        Ok(Self { tcp, bare: bare.transpose()?, udp, webtransport })
    }
}

/// What opens a shard to clients.
pub(super) struct Opening {
    pub(super) tcp: oneshot::Sender<()>,
    pub(super) udp: oneshot::Sender<UdpSocket>,
}

impl Handle {
    /// Takes clients from now on.
    pub(super) fn open(&self, ports: Ports, shards: Vec<Opening>) -> Result<(), StartError> {
        let bare = ports.bare.iter().flat_map(|port| &port.sockets);
        ports.tcp.sockets.iter().chain(bare).try_for_each(listen)?;
        let (tcp, udp): (Vec<_>, Vec<_>) = shards.into_iter().map(|shard| (shard.tcp, shard.udp)).unzip();
        tcp.into_iter().try_for_each(|shard| shard.send(())).map_err(|()| StartError::ShardEnded)?;
        let Some(control) = &self.control else { return Ok(()) };
        match ports.udp {
            Some(port) => {
                for (shard, socket) in udp.into_iter().zip(port.sockets) {
                    shard.send(socket).map_err(|_| StartError::ShardEnded)?;
                }
            }
            None => {
                control.spawn(self.door.clone().settle());
                control.spawn(take_udp(ports.webtransport, udp));
            }
        }
        Ok(())
    }
}

/// Gives the shards the UDP port as soon as an older server has given it up. It can't be shared, not even for a
/// moment: with every socket that comes or goes, the kernel gives the packets of standing sessions to others.
async fn take_udp(address: SocketAddr, shards: Vec<oneshot::Sender<UdpSocket>>) {
    loop {
        match SharedPort::udp(address, shards.len(), "--wt-listen") {
            Ok(port) => {
                info!(webtransport = %address, "took WebTransport over");
                // A shard that has ended is told of elsewhere.
                return shards
                    .into_iter()
                    .zip(port.sockets)
                    .for_each(|(shard, socket)| drop(shard.send(socket)));
            }
            Err(ListenError::InUse { .. }) => tokio::time::sleep(UDP_RETRY_INTERVAL).await,
            Err(error) => return error!(%error, "there is no WebTransport"),
        }
    }
}
