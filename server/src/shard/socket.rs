//! A subscriber's TCP connection, plain or encrypted, without a task and without a buffer of its own.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use rustls::ServerConnection;

/// A non-blocking connection.
#[derive(Debug)]
pub enum Socket {
    /// Bytes go as they are.
    Plain(OwnedFd),
    /// Bytes go through TLS.
    Tls(Box<TlsSocket>),
}

/// A TLS connection whose handshake is done.
#[derive(Debug)]
pub struct TlsSocket {
    fd: OwnedFd,
    tls: ServerConnection,
}

/// The TCP connection as `rustls` wants it.
struct Wire<'a>(BorrowedFd<'a>);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        receive(self.0, buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        transmit(self.0, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn transmit(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match send(fd, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match recv(fd, &mut *buffer, RecvFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            result => return Ok(result?.0),
        }
    }
}

impl Socket {
    /// A TLS connection whose handshake is done.
    pub fn tls(fd: OwnedFd, tls: ServerConnection) -> Self {
        Self::Tls(Box::new(TlsSocket { fd, tls }))
    }

    /// For the poller.
    pub fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(fd) => fd.as_fd(),
            Self::Tls(socket) => socket.fd.as_fd(),
        }
    }

    /// Takes as many bytes as can go now; `WouldBlock` where that is none.
    ///
    /// # Errors
    /// What the connection broke with, or `WouldBlock`.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(fd) => transmit(fd.as_fd(), bytes),
            Self::Tls(socket) => socket.send(bytes),
        }
    }

    /// Bytes were taken by [`Self::send`] that the network has not taken yet.
    pub fn holds_unsent(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(socket) => socket.tls.wants_write(),
        }
    }

    /// Sends what [`Self::holds_unsent`] speaks of.
    ///
    /// # Errors
    /// What the connection broke with, or `WouldBlock`.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(socket) => socket.flush(),
        }
    }

    /// Reads what has arrived: 0 at the end of the stream, `WouldBlock` where nothing has.
    ///
    /// # Errors
    /// What the connection broke with, or `WouldBlock`.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(fd) => receive(fd.as_fd(), buffer),
            Self::Tls(socket) => socket.receive(buffer),
        }
    }

    /// Decrypted bytes are left that [`Self::receive`] gives without asking the kernel.
    pub fn holds_unread(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(socket) => !socket.tls.wants_read(),
        }
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        if let Self::Tls(socket) = self {
            socket.tls.send_close_notify();
            // The peer may be gone; then it needs no goodbye.
            let _ = socket.flush();
        }
        let _ = shutdown(self.fd(), Shutdown::Write);
    }
}

impl TlsSocket {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // While records wait, nothing more is encrypted: the backlog keeps it, where it is bounded.
        self.flush()?;
        let taken = self.tls.writer().write(bytes)?;
        match self.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut Wire(self.fd.as_fd()))?;
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            if self.tls.read_tls(&mut Wire(self.fd.as_fd()))? == 0 {
                return Ok(0);
            }
            self.tls
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            // Key updates and tickets are answered at once or with the next write.
            let _ = self.flush();
        }
    }
}
