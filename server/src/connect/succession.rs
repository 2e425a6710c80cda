//! A restart nobody is refused at: for a while two processes listen on the port, and new connections go to the
//! younger one.
//!
//! The kernel spreads new connections over all sockets on a port, and forgets those that wait in a socket that is
//! closed. So before the older process closes its sockets, it has the kernel choose among the younger's alone
//! (`SO_ATTACH_REUSEPORT_CBPF`), and accepts what still waits in its own. The younger takes that choice back once it
//! is alone.

use std::collections::HashSet;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

/// Listening, in the kernel's tables.
const LISTENING: &str = "0A";

/// Time in which connections that were on their way to this process still arrive.
const LINGER: Duration = Duration::from_millis(250);

/// Time between two looks at whether the older process is gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// The port that a process listens on, until it leaves.
#[derive(Debug, Clone)]
pub struct Door {
    /// One of the sockets.
    listener: Arc<Mutex<Option<OwnedFd>>>,
    address: SocketAddr,
    own: usize,
}

impl Door {
    /// The port of these sockets.
    ///
    /// # Errors
    /// Where no descriptor is left.
    pub fn new(sockets: &[TcpListener], address: SocketAddr) -> io::Result<Self> {
        let first = sockets.first().map(|socket| socket.as_fd().try_clone_to_owned()).transpose()?;
        Ok(Self { listener: Arc::new(Mutex::new(first)), address, own: sockets.len() })
    }

    /// Waits until the older process on the port is gone, and takes back what it arranged for.
    pub async fn settle(self) {
        loop {
            let is_settled = match &*self.listener() {
                None => Ok(true),
                Some(listener) => end_preference(listener.as_fd(), self.address, self.own),
            };
            match is_settled {
                Ok(false) => {}
                Ok(true) => return,
                Err(error) => return warn!(%error, "new connections may be spread unevenly"),
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Leaves new connections to a younger process, where one listens on the port. Whether one does.
    pub fn leave(&self) -> bool {
        let Some(listener) = self.listener().take() else { return false };
        match prefer_successor(listener.as_fd(), self.address, self.own) {
            Ok(false) => false,
            Ok(true) => {
                info!("a successor listens on the port: new connections go there");
                std::thread::sleep(LINGER);
                true
            }
            Err(error) => {
                warn!(%error, "some new connections may be refused");
                false
            }
        }
    }

    fn listener(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends all new connections to the sockets of a younger process on the same port; those of this process are the
/// first `own` of all. Whether there is a younger process.
///
/// # Errors
/// What the kernel says.
fn prefer_successor(listener: BorrowedFd<'_>, address: SocketAddr, own: usize) -> io::Result<bool> {
    let total = listeners(address)?;
    let Some(younger) = total.checked_sub(own).filter(|younger| *younger > 0) else { return Ok(false) };
    // Chosen at random: own + random % younger.
    let ancillary = libc::SKF_AD_OFF as u32;
    let instruction = |code: u32, value: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k: value };
    let program = [
        instruction(
            libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
            ancillary.wrapping_add(libc::SKF_AD_RANDOM as u32),
        ),
        instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, younger as u32),
        instruction(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K, own as u32),
        instruction(libc::BPF_RET | libc::BPF_A, 0),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    set_option(listener, libc::SO_ATTACH_REUSEPORT_CBPF, &program)?;
    Ok(true)
}

/// Has the kernel spread new connections by itself again, if no other process listens on the port any more. Whether
/// that is so.
///
/// # Errors
/// What the kernel says.
fn end_preference(listener: BorrowedFd<'_>, address: SocketAddr, own: usize) -> io::Result<bool> {
    if listeners(address)? > own {
        return Ok(false);
    }
    match set_option(listener, libc::SO_DETACH_REUSEPORT_BPF, &0i32) {
        // There was none.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(true),
        result => result.map(|()| true),
    }
}

fn set_option<T>(socket: BorrowedFd<'_>, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as `value` has, and what that leads to is alive as well.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sockets that listen on exactly this address, of all processes.
fn listeners(address: SocketAddr) -> io::Result<usize> {
    let table = if address.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    count(BufReader::new(File::open(table)?), address)
}

/// The table begins with the sockets that listen, so that however many connections there are, little is read. The kernel
/// gives it a page at a time, and begins a page anew where sockets have come meanwhile: one can stand in it twice.
fn count(table: impl BufRead, address: SocketAddr) -> io::Result<usize> {
    let wanted = in_table(address);
    let mut found = HashSet::new();
    for line in table.lines().skip(1) {
        let line = line?;
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, state) = (fields.next(), fields.nth(1));
        if state != Some(LISTENING) {
            break;
        }
        if local == Some(wanted.as_str()) {
            found.extend(fields.nth(5).map(str::to_owned));
        }
    }
    Ok(found.len())
}

/// An address as the table has it: words of the machine's own byte order.
fn in_table(address: SocketAddr) -> String {
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = octets.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    let mut text = words.fold(String::new(), |text, word| text + &format!("{word:08X}"));
    // Writing into a `String` never fails.
    let _ = write!(text, ":{:04X}", address.port());
    text
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::super::SharedPort;
    use super::super::listener::listen;
    use super::*;

    #[test]
    fn listeners_are_counted_by_their_exact_address() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let port = SharedPort::tcp(any, 3, "--listen", false).unwrap();
        assert_eq!(listeners(port.address).unwrap(), 3);
        let same_port_elsewhere = SocketAddr::from(([127, 0, 0, 2], port.address.port()));
        assert_eq!(listeners(same_port_elsewhere).unwrap(), 0);
        let v6: SocketAddr = "[::1]:0".parse().unwrap();
        if let Ok(listener) = TcpListener::bind(v6) {
            assert_eq!(listeners(listener.local_addr().unwrap()).unwrap(), 1);
        }
    }

    #[test]
    fn a_socket_that_stands_in_the_table_twice_counts_once() {
        let line = |inode: u32| {
            format!(
                "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 {inode} 1 0\n"
            )
        };
        let heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let table = [heading, &line(17), &line(18), &line(17)].concat();
        assert_eq!(count(table.as_bytes(), SocketAddr::from(([127, 0, 0, 1], 8080))).unwrap(), 2);
    }

    #[test]
    fn new_connections_go_to_the_younger_sockets_until_they_are_alone() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let older = SharedPort::tcp(any, 2, "--listen", false).unwrap();
        let first = older.sockets[0].as_fd();
        assert!(!prefer_successor(first, older.address, 2).unwrap(), "nobody is younger");
        let younger = SharedPort::tcp(older.address, 3, "--listen", true).unwrap();
        assert!(!prefer_successor(first, older.address, 2).unwrap(), "it does not listen yet");
        for socket in &younger.sockets {
            listen(socket).unwrap();
        }
        assert!(prefer_successor(first, older.address, 2).unwrap());
        assert!(
            !end_preference(younger.sockets[0].as_fd(), older.address, 3).unwrap(),
            "the older is there still"
        );
        let connections: Vec<_> = (0..60).map(|_| TcpStream::connect(older.address).unwrap()).collect();
        let waiting = |sockets: &[TcpListener]| -> Vec<usize> {
            sockets.iter().map(|socket| std::iter::from_fn(|| socket.accept().ok()).count()).collect()
        };
        assert_eq!(waiting(&older.sockets), [0, 0]);
        let counts = waiting(&younger.sockets);
        assert_eq!(counts.iter().sum::<usize>(), connections.len());
        assert!(counts.iter().all(|count| *count > 0), "spread: {counts:?}");
        drop(older);
        assert!(end_preference(younger.sockets[0].as_fd(), younger.address, 3).unwrap());
        let more: Vec<_> = (0..60).map(|_| TcpStream::connect(younger.address).unwrap()).collect();
        let counts = waiting(&younger.sockets);
        assert_eq!(counts.iter().sum::<usize>(), more.len());
        assert!(counts.iter().all(|count| *count > 0), "spread: {counts:?}");
    }
}
