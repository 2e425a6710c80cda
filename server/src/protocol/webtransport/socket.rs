//! The UDP socket of a shard's sessions, without the kernel's joining of received datagrams (GRO).
//!
//! It joins what comes from one sender in a row. To a server come acknowledgements, from another sender each: there is
//! nothing to join, but the QUIC library keeps 64 times the room for it, 3 MB a shard, of which every datagram read
//! touches another page.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use wtransport::quinn::udp::{RecvMeta, Transmit};
use wtransport::quinn::{AsyncUdpSocket, Runtime, UdpPoller};

/// See the module's documentation.
#[derive(Debug)]
pub struct SingleDatagrams(Arc<dyn AsyncUdpSocket>);

impl SingleDatagrams {
    /// `socket` on this runtime.
    ///
    /// # Errors
    /// What the kernel or the runtime says.
    pub fn wrap(socket: UdpSocket, runtime: &impl Runtime) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let same = socket.try_clone()?;
        let wrapped = runtime.wrap_udp_socket(socket)?;
        // Only now: the library has just switched it on.
        Ok(if do_not_join(&same).is_ok() { Arc::new(Self(wrapped)) } else { wrapped })
    }
}

/// A property of the socket, not of the descriptor it is set by.
fn do_not_join(socket: &UdpSocket) -> io::Result<()> {
    let off: libc::c_int = 0;
    let length = size_of_val(&off) as libc::socklen_t;
    // SAFETY: the descriptor is open, and the option's value is an integer that lives as long as the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_GRO, (&raw const off).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl AsyncUdpSocket for SingleDatagrams {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.0).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.try_send(transmit)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_recv(context, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.0.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        1
    }

    fn may_fragment(&self) -> bool {
        self.0.may_fragment()
    }
}
