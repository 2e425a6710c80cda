//! A connection to Redis that is waited on by a thread of its own, over TCP or a Unix socket.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

use redis::ConnectionAddr;
use socket2::{Domain, SockAddr, Socket, Type};

/// See the module's documentation.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    limit: Option<Duration>,
}

impl Connection {
    /// Connects within `limit`, which is what a write may take from then on, too. Of a name, the first address that
    /// answers is taken.
    ///
    /// # Errors
    /// What the last attempt failed with; `Unsupported` where TLS is asked for.
    pub fn open(address: &ConnectionAddr, limit: Duration) -> io::Result<Self> {
        let socket = match address {
            ConnectionAddr::Unix(path) => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                // While the other end's queue is full, connecting waits, and so long.
                socket.set_write_timeout(Some(limit))?;
                socket.connect(&SockAddr::unix(path)?)?;
                socket
            }
            ConnectionAddr::Tcp(host, port) => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                let connect = |address| TcpStream::connect_timeout(&address, limit);
                let found = (host.as_str(), *port).to_socket_addrs()?.find_map(|address| {
                    connect(address).inspect_err(|error| last = io::Error::from(error.kind())).ok()
                });
                let Some(stream) = found else { return Err(last) };
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(limit))?;
                stream.into()
            }
            _ => {
                let problem = "TLS to Redis is not supported; use redis:// or redis+unix://";
                return Err(io::Error::new(io::ErrorKind::Unsupported, problem));
            }
        };
        Ok(Self { socket, limit: None })
    }

    /// How long a read waits from here on before it gives `WouldBlock`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait_at_most(&mut self, limit: Duration) -> io::Result<()> {
        // A call to the kernel, and nearly always for what is so already; zero would be for ever.
        let limit = Some(limit.max(Duration::from_millis(1)));
        if self.limit == limit {
            return Ok(());
        }
        self.socket.set_read_timeout(limit)?;
        self.limit = limit;
        Ok(())
    }

    /// The same connection in other hands.
    ///
    /// # Errors
    /// Where no descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, limit: self.limit })
    }

    /// Ends it for all who wait on it.
    pub fn cut(&self) {
        // It may have ended by itself.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buffer)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
