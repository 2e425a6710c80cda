//! A UDP socket for QUIC that keeps when the kernel received its latest datagram.
//!
//! QUIC joins datagrams to messages out of our sight, so a session in a run with kernel timestamps has a socket of its
//! own: the latest datagram that was taken from it when a message surfaces is the message's last, or one that came
//! behind it and was taken in the same turn. So what is called the kernel's receipt is never too early, and the time
//! from there to the client is a lower bound.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::Interest;
use wtransport::quinn::udp::{RecvMeta, Transmit};
use wtransport::quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};

use crate::kernel_time::{KernelStamp, StampedReceiver, stamp_receipts};

/// When the kernel received the latest datagram of a socket.
#[derive(Debug, Clone, Default)]
pub struct LatestStamp(Arc<AtomicU64>);

impl LatestStamp {
    /// `None` before the first datagram, and where the kernel did not say.
    pub fn get(&self) -> Option<KernelStamp> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&ns| ns > 0).map(KernelStamp)
    }

    fn set(&self, stamp: Option<KernelStamp>) {
        self.0.store(stamp.map_or(0, |stamp| stamp.0), Ordering::Relaxed);
    }
}

/// See the module's documentation. Sends as quinn's own socket does.
pub struct StampedSocket {
    sending: Arc<dyn AsyncUdpSocket>,
    receiving: tokio::net::UdpSocket,
    receiver: Mutex<StampedReceiver>,
    latest: LatestStamp,
}

impl StampedSocket {
    /// Takes a socket that does not block. To be called inside a runtime.
    ///
    /// # Errors
    /// What the system said.
    pub fn new(socket: UdpSocket) -> io::Result<(Arc<Self>, LatestStamp)> {
        let sending = TokioRuntime.wrap_udp_socket(socket.try_clone()?)?;
        // quinn has asked for datagrams joined by the kernel; each of ours is to have its own stamp.
        setsockopt(&socket, sockopt::UdpGroSegment, &false)?;
        stamp_receipts(&socket)?;
        let latest = LatestStamp::default();
        let stamped = Self {
            sending,
            receiving: tokio::net::UdpSocket::from_std(socket)?,
            receiver: Mutex::default(),
            latest: latest.clone(),
        };
        Ok((Arc::new(stamped), latest))
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<RecvMeta> {
        let mut receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        let datagram = receiver.receive(&self.receiving, buffer)?;
        self.latest.set(datagram.stamp);
        let from = datagram.from.ok_or_else(|| io::Error::other("a datagram came from nowhere"))?;
        Ok(RecvMeta { addr: from, len: datagram.bytes, stride: datagram.bytes, ecn: None, dst_ip: None })
    }
}

impl fmt::Debug for StampedSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StampedSocket").field("receiving", &self.receiving).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for StampedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.sending).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.sending.try_send(transmit)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), meta.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        loop {
            ready!(self.receiving.poll_recv_ready(context))?;
            match self.receiving.try_io(Interest::READABLE, || self.receive(buffer)) {
                Ok(received) => {
                    *meta = received;
                    return Poll::Ready(Ok(1));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.sending.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.sending.max_transmit_segments()
    }

    fn may_fragment(&self) -> bool {
        self.sending.may_fragment()
    }
}
