//! The floor under every WebSocket fan-out: a bare loop of `send`.
//!
//! One thread, one epoll set, no protocol but the handshake and the frame header: what a round costs here is
//! what the kernel takes for it. `--join` sends all frames that are pending in one call, which is the floor
//! where several rounds are in flight.
//!
//! ```text
//! floor-websocket --redis /path/redis.sock [--listen 127.0.0.1:0] [--join]
//! ```
//!
//! Prints the same ready line as the server, so that the same client measures both.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use lastmile_benches::floor::{self, Options};
use lastmile_benches::resp;
use lastmile_wire::websocket::{Opcode, accept_key, append_frame};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

/// Tokens of the two descriptors that are no client.
const LISTENER: u64 = u64::MAX;
const REDIS: u64 = u64::MAX - 1;

fn main() {
    floor::run("floor-websocket", "--join", serve);
}

fn serve(options: &Options) -> io::Result<()> {
    let listener = TcpListener::bind(&options.listen)?;
    let mut redis = UnixStream::connect(&options.redis)?;
    redis.write_all(&resp::command(&[b"SUBSCRIBE", b"stream:crash"]))?;
    redis.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    epoll::add(&epoll, &redis, EventData::new_u64(REDIS), EventFlags::IN)?;
    println!(
        "{{\"ready\":true,\"pid\":{},\"http\":\"{}\",\"tls\":false}}",
        std::process::id(),
        listener.local_addr()?
    );

    let mut clients: Vec<Option<TcpStream>> = Vec::new();
    let mut received = Vec::new();
    let mut frames = Vec::new();
    let mut events: Vec<Event> = Vec::with_capacity(256);
    loop {
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(Errno::INTR) => continue,
            result => result?,
        };
        for event in events.iter().map(|&Event { data, .. }| data.u64()) {
            match event {
                LISTENER => {
                    let client = handshake(listener.accept()?.0)?;
                    let token = clients.len() as u64;
                    epoll::add(&epoll, &client, EventData::new_u64(token), EventFlags::RDHUP)?;
                    clients.push(Some(client));
                }
                REDIS => {
                    if !read_all(&mut redis, &mut received)? {
                        return Ok(());
                    }
                    let used = resp::published(&received, |payload| {
                        append_frame(&mut frames, Opcode::Text, payload);
                        if !options.switch {
                            fan_out(&clients, &frames);
                            frames.clear();
                        }
                    });
                    received.drain(..used);
                    if !frames.is_empty() {
                        fan_out(&clients, &frames);
                        frames.clear();
                    }
                }
                gone => clients[gone as usize] = None,
            }
        }
    }
}

/// Sends to everyone. A client that does not take all of it is waited for: this is a floor, not a server.
fn fan_out(clients: &[Option<TcpStream>], frames: &[u8]) {
    for client in clients.iter().flatten() {
        let mut rest = frames;
        while !rest.is_empty() {
            match send(client.as_fd(), rest, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::AGAIN) => std::thread::yield_now(),
                Err(_) => break,
            }
        }
    }
}

fn handshake(mut client: TcpStream) -> io::Result<TcpStream> {
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match client.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => head.extend_from_slice(&piece[..count]),
        }
    }
    let head = String::from_utf8_lossy(&head);
    let key = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
        .map_or("", |(_, value)| value.trim());
    write!(
        client,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        accept_key(key.as_bytes())
    )?;
    client.set_nonblocking(true)?;
    Ok(client)
}

/// Reads what is there; `false` at the end of the stream.
fn read_all(stream: &mut UnixStream, into: &mut Vec<u8>) -> io::Result<bool> {
    let mut piece = [0; 16 * 1024];
    match stream.read(&mut piece) {
        Ok(0) => Ok(false),
        Ok(count) => {
            into.extend_from_slice(&piece[..count]);
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}
