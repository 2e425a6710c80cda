//! A connection of a reactor: a socket that never blocks, with TLS over it or not.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send,
    socket_with, sockopt,
};

use crate::kernel_time::{KernelStamp, StampedReceiver, stamp_receipts};
use crate::transport::tls::{TlsClient, TlsStream};

/// Where a stream connects to.
#[derive(Debug, Clone)]
pub enum Address {
    /// Over TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Link {
    socket: Socket,
    tls: Option<Box<TlsStream>>,
}

impl Link {
    /// A connection that is about to be made. With `stamped`, the kernel is asked when it received what comes.
    ///
    /// # Errors
    /// What the system said.
    pub fn begin(address: &Address, tls: Option<&TlsClient>, stamped: bool) -> io::Result<Self> {
        let tls = tls.map(TlsClient::connect).transpose()?.map(Box::new);
        Ok(Self { socket: Socket::new(address.begin()?, stamped)?, tls })
    }

    /// When the kernel received the last byte of what was received last; `None` where it was not asked, or did not say.
    pub fn stamp(&self) -> Option<KernelStamp> {
        self.socket.stamps.as_ref().and_then(|stamps| stamps.latest)
    }

    /// The transport layer's handshake is done, or has failed.
    ///
    /// # Errors
    /// Why it has failed.
    pub fn connected(&self) -> io::Result<()> {
        Ok(sockopt::socket_error(&self.socket.descriptor).and_then(|outcome| outcome)?)
    }

    /// Goes on with what has to be done before the first request; whether that is done.
    ///
    /// # Errors
    /// What went wrong.
    pub fn secure(&mut self, room: &mut Vec<u8>) -> io::Result<bool> {
        match &mut self.tls {
            None => Ok(true),
            Some(tls) => tls.shake(&mut self.socket, room),
        }
    }

    /// Receives once into `plain`: how many bytes, 0 at the end; `None` where nothing is there, or nothing whole.
    /// `room` is for what is still encrypted.
    ///
    /// # Errors
    /// Why the connection is broken.
    #[inline]
    pub fn receive(&mut self, room: &mut Vec<u8>, plain: &mut [u8]) -> io::Result<Option<usize>> {
        let received = match &mut self.tls {
            None => Some(self.socket.receive(plain)?),
            Some(tls) => tls.receive(&mut self.socket, room, plain)?,
        };
        Ok(received)
    }

    /// Sends a few bytes; whether the socket took them whole.
    ///
    /// # Errors
    /// What the system said.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<bool> {
        match &mut self.tls {
            None => Ok(send(&self.socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)? == bytes.len()),
            Some(tls) => tls.send(&self.socket, bytes),
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A socket, and what the kernel says of what comes there.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    stamps: Option<Box<Stamps>>,
}

#[derive(Debug, Default)]
struct Stamps {
    receiver: StampedReceiver,
    latest: Option<KernelStamp>,
}

impl Socket {
    fn new(descriptor: OwnedFd, stamped: bool) -> io::Result<Self> {
        if stamped {
            stamp_receipts(&descriptor)?;
        }
        Ok(Self { descriptor, stamps: stamped.then(Box::default) })
    }

    /// Receives once: how many bytes, 0 at the end.
    ///
    /// # Errors
    /// What the system said.
    #[inline]
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let Some(stamps) = &mut self.stamps else {
            return Ok(recv(&self.descriptor, buffer, RecvFlags::empty())?.1);
        };
        let received = stamps.receiver.receive(&self.descriptor, buffer);
        let received = received.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        stamps.latest = received.stamp;
        Ok(received.bytes)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Address {
    /// A socket that is about to be connected.
    fn begin(&self) -> Result<OwnedFd, Errno> {
        let family = match self {
            Self::Tcp(SocketAddr::V4(_)) => AddressFamily::INET,
            Self::Tcp(SocketAddr::V6(_)) => AddressFamily::INET6,
            Self::Unix(_) => AddressFamily::UNIX,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        let begun = match self {
            Self::Tcp(address) => {
                sockopt::set_tcp_nodelay(&socket, true)?;
                connect(&socket, address)
            }
            Self::Unix(path) => connect(&socket, &SocketAddrUnix::new(path.as_path())?),
        };
        match begun {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(errno) => Err(errno),
        }
    }
}
