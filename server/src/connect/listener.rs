//! One port, shared by the shards: each has a socket of its own on it, and the kernel spreads the connections.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

/// Connections the kernel keeps for a shard that has not accepted them yet.
const ACCEPT_BACKLOG: i32 = 4096;

/// Receive and send buffers of a WebTransport socket: all its sessions share them.
const UDP_BUFFER_BYTES: usize = 4 << 20;

/// Why a port can't be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process has it.
    #[error(
        "{address} is in use already; stop what listens there, or choose another port with {flag} (0 lets the kernel choose)"
    )]
    InUse {
        /// The address.
        address: SocketAddr,
        /// The flag that chose it.
        flag: &'static str,
    },
    /// Something else.
    #[error("could not listen on {address}: {source}; check {flag}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// The flag that chose it.
        flag: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
}

/// Sockets on one port, one a shard.
#[derive(Debug)]
pub struct SharedPort<S> {
    /// The address, with the port the kernel chose where 0 was asked for.
    pub address: SocketAddr,
    /// The sockets.
    pub sockets: Vec<S>,
}

impl SharedPort<TcpListener> {
    /// Listens for TCP connections. Of a port that is shared with an older process, it is had, but not listened on
    /// until [`listen`]: whom the kernel gives to a process that then does not come up would be refused.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn tcp(
        address: SocketAddr,
        count: usize,
        flag: &'static str,
        shared: bool,
    ) -> Result<Self, ListenError> {
        let bound = bind_all(address, count, flag, Type::STREAM, Protocol::TCP, shared)?;
        for socket in bound.sockets.iter().filter(|_| !shared) {
            socket.listen(ACCEPT_BACKLOG).map_err(|source| failed(address, flag, source))?;
        }
        Ok(Self { address: bound.address, sockets: bound.sockets.into_iter().map(Into::into).collect() })
    }
}

/// Listens on a socket that is bound. It does no harm to one that listens already.
///
/// # Errors
/// What the kernel says.
pub fn listen(socket: &TcpListener) -> io::Result<()> {
    SockRef::from(socket).listen(ACCEPT_BACKLOG)
}

impl SharedPort<UdpSocket> {
    /// Receives datagrams.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn udp(address: SocketAddr, count: usize, flag: &'static str) -> Result<Self, ListenError> {
        let bound = bind_all(address, count, flag, Type::DGRAM, Protocol::UDP, false)?;
        for socket in &bound.sockets {
            // The kernel gives what its limits allow; less is not an error.
            let _ = socket.set_recv_buffer_size(UDP_BUFFER_BYTES);
            let _ = socket.set_send_buffer_size(UDP_BUFFER_BYTES);
        }
        Ok(Self { address: bound.address, sockets: bound.sockets.into_iter().map(Into::into).collect() })
    }
}

fn bind_all(
    address: SocketAddr,
    count: usize,
    flag: &'static str,
    kind: Type,
    protocol: Protocol,
    with_others: bool,
) -> Result<SharedPort<Socket>, ListenError> {
    let bind = |address: SocketAddr, shared: bool| -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), kind.nonblocking().cloexec(), Some(protocol))?;
        if kind == Type::STREAM {
            socket.set_reuse_address(true)?;
            // Its connections inherit it, which saves a call for each.
            socket.set_tcp_nodelay(true)?;
        }
        socket.set_reuse_port(shared)?;
        socket.bind(&SockAddr::from(address))?;
        Ok(socket)
    };
    if address.port() != 0 && !with_others {
        // Sharing a port would also share it with a second server of the same user, silently: so first see
        // that nobody has it. For TCP only listening shows it.
        let alone = bind(address, false).and_then(|socket| match kind {
            Type::STREAM => socket.listen(1),
            _ => Ok(()),
        });
        alone.map_err(|source| failed(address, flag, source))?;
    }
    let first = bind(address, true).map_err(|source| failed(address, flag, source))?;
    let address = first
        .local_addr()
        .and_then(|bound| bound.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into()))
        .map_err(|source| failed(address, flag, source))?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(bind(address, true).map_err(|source| failed(address, flag, source))?);
    }
    Ok(SharedPort { address, sockets })
}

fn failed(address: SocketAddr, flag: &'static str, source: io::Error) -> ListenError {
    if source.kind() == io::ErrorKind::AddrInUse {
        ListenError::InUse { address, flag }
    } else {
        ListenError::Other { address, flag, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_shared_by_shards_and_by_no_one_else() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let tcp = SharedPort::tcp(any, 3, "--listen", false).unwrap();
        assert_eq!(tcp.sockets.len(), 3);
        assert!(tcp.sockets.iter().all(|socket| socket.local_addr().unwrap() == tcp.address));
        let again = SharedPort::tcp(tcp.address, 1, "--listen", false).unwrap_err();
        assert!(matches!(again, ListenError::InUse { .. }), "{again}");

        let udp = SharedPort::udp(any, 2, "--wt-listen").unwrap();
        let again = SharedPort::udp(udp.address, 1, "--wt-listen").unwrap_err();
        assert!(matches!(again, ListenError::InUse { .. }), "{again}");
    }
}
