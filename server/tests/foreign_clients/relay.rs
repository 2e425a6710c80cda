//! A relay between a client and the server: it keeps what clients asked for, and can cut every connection.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// See the module's documentation.
pub struct Relay {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    ended: AtomicBool,
    /// Heads of requests, in lower case.
    heads: Mutex<Vec<String>>,
    /// Both sides of every connection.
    sockets: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// A relay to the server at this address.
    pub fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let (server, shared) = (server.to_owned(), Arc::clone(&state));
        thread::spawn(move || {
            for client in listener.incoming() {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                let (server, shared) = (server.clone(), Arc::clone(&shared));
                // A connection that fails is the client's to complain about.
                thread::spawn(move || client.and_then(|client| shared.relay(client, &server)));
            }
        });
        Self { address, state }
    }

    /// What a browser calls this place.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, in lower case.
    pub fn heads(&self) -> Vec<String> {
        self.state.heads.lock().expect("no panic while it is held").clone()
    }

    /// Cuts every connection, without a word.
    pub fn cut(&self) {
        for socket in self.state.sockets.lock().expect("no panic while it is held").drain(..) {
            // It may have ended by itself.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn relay(&self, client: TcpStream, server: &str) -> io::Result<()> {
        let server = TcpStream::connect(server)?;
        let sockets = [client.try_clone()?, server.try_clone()?];
        self.sockets.lock().expect("no panic while it is held").extend(sockets);
        let (mut answers, mut to_client) = (server.try_clone()?, client.try_clone()?);
        let back = thread::spawn(move || {
            let _ = io::copy(&mut answers, &mut to_client);
            let _ = to_client.shutdown(Shutdown::Write);
        });
        let forth = self.requests(client, server);
        // A panic there is a bug of this file.
        back.join().expect("copying does not panic");
        forth
    }

    /// Hands on what a client says. A request of a browser fits into one piece.
    fn requests(&self, mut client: TcpStream, mut server: TcpStream) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let count = client.read(&mut buffer)?;
            if count == 0 {
                return server.shutdown(Shutdown::Write);
            }
            let text = String::from_utf8_lossy(&buffer[..count]).to_lowercase();
            if text.starts_with("get ") {
                self.heads.lock().expect("no panic while it is held").push(text);
            }
            server.write_all(&buffer[..count])?;
        }
    }
}
