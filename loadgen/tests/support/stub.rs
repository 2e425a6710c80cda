//! A Redis and a server in one, inside the test's process: what is published goes to every subscriber of any
//! protocol, except for what the script does to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use lastmile_wire::sse::{EVENT_MESSAGE, RETRY_LINE, append_event};
use lastmile_wire::websocket::{CloseCode, Opcode, accept_key, append_frame, close_payload};
use lastmile_wire::webtransport::append_message;
use rustls::SupportedProtocolVersion;
use tokio::sync::mpsc::UnboundedSender;

use super::{http2_stub, tls_stub, webtransport_stub};

/// What happens to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is delivered.
    Deliver,
    /// Nobody gets it.
    Lose,
    /// Everybody gets it twice.
    Twice,
    /// It is delivered after the next one.
    AfterTheNext,
    /// Its last byte is another.
    Damage,
    /// Everything stands still for so long before it is delivered.
    Freeze(Duration),
    /// It is delivered to one subscriber after the other, with so long between them.
    Stagger(Duration),
    /// The first subscriber is told that it is too slow, and closed; the others get the message.
    CloseFirst,
}

/// What happens to the message that is published as number `n`, from 0.
pub type Script = fn(n: usize) -> Action;

/// Where a subscriber's messages go.
pub trait Subscriber: Send {
    /// Delivers a message; an error ends the subscriber.
    fn deliver(&mut self, message: &[u8]) -> std::io::Result<()>;
    /// Closes it as too slow.
    fn close(&mut self);
}

/// What is to be done for a subscriber that is served on a runtime.
pub enum Order {
    Deliver(Vec<u8>),
    Close,
}

/// A subscriber that is served on a runtime.
pub struct QueuedSubscriber(pub UnboundedSender<Order>);

impl Subscriber for QueuedSubscriber {
    fn deliver(&mut self, message: &[u8]) -> std::io::Result<()> {
        self.0.send(Order::Deliver(message.to_vec())).map_err(std::io::Error::other)
    }

    fn close(&mut self) {
        let _ = self.0.send(Order::Close);
    }
}

/// Subscribers of all protocols.
pub type Subscribers = Arc<Mutex<Vec<Option<Box<dyn Subscriber>>>>>;

/// The running stub. Its threads end with the test's process, its sockets when it is dropped.
pub struct Stub {
    pub redis: SocketAddr,
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub webtransport: SocketAddr,
    pub tcp: SocketAddr,
    shared: Arc<Shared>,
    _webtransport: webtransport_stub::Handle,
}

struct Shared {
    subscribers: Subscribers,
    /// Redis reads nothing while this is set.
    redis_stands_still: AtomicBool,
    /// How long Redis takes for a publish, in milliseconds.
    publish_takes_ms: AtomicU64,
    published: (Mutex<usize>, Condvar),
    /// Each message's identifier and when it was published, in nanoseconds of the monotonic clock.
    arrivals: Mutex<Vec<(u64, u64)>>,
}

impl Stub {
    pub fn start(script: Script) -> Self {
        Self::start_with(script, rustls::ALL_VERSIONS)
    }

    /// The same with a choice of TLS versions.
    pub fn start_with(script: Script, versions: &[&'static SupportedProtocolVersion]) -> Self {
        let shared = Arc::new(Shared {
            subscribers: Subscribers::default(),
            redis_stands_still: AtomicBool::new(false),
            publish_takes_ms: AtomicU64::new(0),
            published: Default::default(),
            arrivals: Mutex::default(),
        });
        let (published, to_deliver) = channel();
        let posted = published.clone();
        let redis = listen(&shared, move |shared, socket| {
            let published = published.clone();
            thread::spawn(move || serve_redis(socket, &published, &shared));
        });
        let http = listen(&shared, move |shared, socket| {
            let posted = posted.clone();
            thread::spawn(move || serve_http(socket, &posted, &shared.subscribers));
        });
        let tcp = listen(&shared, move |shared, socket| {
            thread::spawn(move || serve_tcp(socket, &shared.subscribers));
        });
        let https = tls_stub::start(http, versions);
        let subscribers = Arc::clone(&shared.subscribers);
        thread::spawn(move || deliver(&to_deliver, script, &subscribers));
        let webtransport = webtransport_stub::start(Arc::clone(&shared.subscribers));
        Self {
            redis,
            http,
            https,
            webtransport: webtransport.address,
            tcp,
            shared,
            _webtransport: webtransport,
        }
    }

    /// What tells `lastmile run` to measure this.
    pub fn flags(&self) -> Vec<String> {
        vec![
            "--redis".into(),
            format!("redis://{}", self.redis),
            "--target".into(),
            format!("http://{}", self.http),
            "--target".into(),
            format!("https://{}", self.webtransport),
            "--target".into(),
            format!("https://{}", self.https),
            "--target".into(),
            format!("tcp://{}", self.tcp),
        ]
    }

    /// Waits until so many messages have been published.
    pub fn wait_for_publishes(&self, count: usize) {
        let (published, changed) = &self.shared.published;
        drop(changed.wait_while(published.lock().unwrap(), |published| *published < count).unwrap());
    }

    /// Each message's identifier and when it was published, in nanoseconds of the monotonic clock.
    pub fn arrivals(&self) -> Vec<(u64, u64)> {
        self.shared.arrivals.lock().unwrap().clone()
    }

    /// From now on Redis takes so long for each publish.
    pub fn slow_redis(&self, each: Duration) {
        self.shared.publish_takes_ms.store(each.as_millis() as u64, Ordering::SeqCst);
    }

    /// From now on Redis reads nothing for `how_long`.
    pub fn stop_redis_for(&self, how_long: Duration) {
        self.shared.redis_stands_still.store(true, Ordering::SeqCst);
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || {
            thread::sleep(how_long);
            shared.redis_stands_still.store(false, Ordering::SeqCst);
        });
    }
}

fn listen(shared: &Arc<Shared>, serve: impl Fn(Arc<Shared>, TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // What a standstill may leave in the kernel stays small, whatever the kernel would like.
    socket2::SockRef::from(&listener).set_recv_buffer_size(64 * 1024).unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            socket.set_nodelay(true).unwrap();
            serve(Arc::clone(&shared), socket);
        }
    });
    address
}

fn deliver(to_deliver: &Receiver<Vec<u8>>, script: Script, subscribers: &Subscribers) {
    let mut held = None;
    for (number, mut message) in to_deliver.iter().enumerate() {
        let action = script(number);
        match action {
            Action::Freeze(how_long) => thread::sleep(how_long),
            Action::Damage => *message.last_mut().unwrap() = b'!',
            Action::CloseFirst => {
                let mut subscribers = subscribers.lock().unwrap();
                let first = subscribers.iter_mut().find(|place| place.is_some());
                first.and_then(Option::take).expect("someone is attached").close();
            }
            _ => {}
        }
        let mut outgoing = Vec::new();
        match action {
            Action::Lose => {}
            Action::AfterTheNext => {
                held = Some(message);
                continue;
            }
            Action::Twice => outgoing.extend([message.clone(), message]),
            _ => outgoing.push(message),
        }
        outgoing.extend(held.take());
        for message in &outgoing {
            for (number, place) in subscribers.lock().unwrap().iter_mut().enumerate() {
                if let (Action::Stagger(gap), 1..) = (action, number) {
                    thread::sleep(gap);
                }
                if place.as_mut().is_some_and(|subscriber| subscriber.deliver(message).is_err()) {
                    *place = None;
                }
            }
        }
    }
}

fn serve_redis(socket: TcpStream, published: &Sender<Vec<u8>>, shared: &Shared) {
    let mut reader = BufReader::new(socket);
    while let Some(command) = read_command(&mut reader) {
        while shared.redis_stands_still.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
        let answer: &[u8] = match command[0].as_slice() {
            b"PING" => b"+PONG\r\n",
            b"PUBLISH" => {
                thread::sleep(Duration::from_millis(shared.publish_takes_ms.load(Ordering::SeqCst)));
                let now_ns = monotonic_ns();
                // At its beginning, of a message that may be large.
                let beginning = command[2].chunks(100).next().unwrap();
                let id = round_id(&String::from_utf8_lossy(beginning)).unwrap();
                shared.arrivals.lock().unwrap().push((id, now_ns));
                published.send(command[2].clone()).unwrap();
                *shared.published.0.lock().unwrap() += 1;
                shared.published.1.notify_all();
                b":1\r\n"
            }
            b"SUBSCRIBE" => {
                // Registered together with the answer: whoever sees it is attached.
                let mut subscribers = shared.subscribers.lock().unwrap();
                let socket = reader.get_mut();
                socket.write_all(b"*3\r\n$9\r\nsubscribe\r\n$12\r\nstream:crash\r\n:1\r\n").unwrap();
                subscribers.push(Some(Box::new(RedisSubscriber(socket.try_clone().unwrap()))));
                continue;
            }
            _ => b"+OK\r\n",
        };
        if reader.get_mut().write_all(answer).is_err() {
            return;
        }
    }
}

/// The identifier of a round, by looking for it.
pub fn round_id(message: &str) -> Option<u64> {
    message.split_once("\"round_id\":")?.1.split(',').next()?.parse().ok()
}

/// A clock of the stub's own.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn read_command(reader: &mut impl BufRead) -> Option<Vec<Vec<u8>>> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let parts: usize = line.strip_prefix('*')?.trim_end().parse().unwrap();
    let mut command = Vec::new();
    for _ in 0..parts {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let length: usize = line.strip_prefix('$')?.trim_end().parse().unwrap();
        let mut part = vec![0; length + 2];
        reader.read_exact(&mut part).ok()?;
        part.truncate(length);
        command.push(part);
    }
    Some(command)
}

fn serve_http(socket: TcpStream, posted: &Sender<Vec<u8>>, subscribers: &Subscribers) {
    // HTTP/2 begins with words that no request of HTTP/1.1 begins with.
    let mut beginning = [0; 4];
    if socket.peek(&mut beginning).is_ok_and(|length| beginning[..length] == *b"PRI ") {
        return http2_stub::serve(socket, subscribers);
    }
    let mut reader = BufReader::new(socket);
    let mut path = String::new();
    let mut post = None;
    let mut key = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if let Some(rest) = line.strip_prefix("GET ") {
            rest.split(' ').next().unwrap().clone_into(&mut path);
        } else if let Some(value) = line.strip_prefix("Sec-WebSocket-Key: ") {
            value.trim().clone_into(&mut key);
        } else if line == "POST /publish HTTP/1.1\r\n" {
            post = Some(0);
        } else if let (Some(length), Some(told)) = (&mut post, line.strip_prefix("Content-Length: ")) {
            *length = told.trim().parse().unwrap();
        } else if line == "\r\n" {
            // Messages posted come one behind the other on a connection that is kept.
            let Some(length) = post.take() else { break };
            let mut message = vec![0; length];
            reader.read_exact(&mut message).unwrap();
            posted.send(message).unwrap();
            reader.get_mut().write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok").unwrap();
        }
    }
    let mut socket = reader.get_ref().try_clone().unwrap();
    let (head, subscriber): (String, Box<dyn Subscriber>) = if path == "/ws/crash" {
        let accept = accept_key(key.as_bytes());
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        (head, Box::new(WebSocketSubscriber(socket.try_clone().unwrap())))
    } else if path == "/sse/crash" {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        (head.into(), Box::new(EventSubscriber(socket.try_clone().unwrap())))
    } else {
        let _ = socket.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nno game");
        return;
    };
    {
        // Registered before the answer can be seen: whoever sees it is attached.
        let mut subscribers = subscribers.lock().unwrap();
        socket.write_all(head.as_bytes()).unwrap();
        subscribers.push(Some(subscriber));
    }
    // Whatever a client says, until it goes.
    let _ = std::io::copy(&mut reader, &mut std::io::sink());
}

fn serve_tcp(socket: TcpStream, subscribers: &Subscribers) {
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let mut socket = reader.get_ref().try_clone().unwrap();
    if line != "/tcp/crash\n" {
        let _ = socket.write_all(b"-404 no game\n");
        return;
    }
    {
        let mut subscribers = subscribers.lock().unwrap();
        socket.write_all(b"+attached\n").unwrap();
        subscribers.push(Some(Box::new(TcpSubscriber(socket))));
    }
    let _ = std::io::copy(&mut reader, &mut std::io::sink());
}

/// Messages as Redis pushes them, in two pieces.
struct RedisSubscriber(TcpStream);

impl Subscriber for RedisSubscriber {
    fn deliver(&mut self, message: &[u8]) -> std::io::Result<()> {
        let mut push =
            format!("*3\r\n$7\r\nmessage\r\n$12\r\nstream:crash\r\n${}\r\n", message.len()).into_bytes();
        push.extend_from_slice(message);
        push.extend_from_slice(b"\r\n");
        let (first, second) = push.split_at(push.len() / 2);
        self.0.write_all(first)?;
        self.0.write_all(second)
    }

    fn close(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// Messages behind their length.
struct TcpSubscriber(TcpStream);

impl Subscriber for TcpSubscriber {
    fn deliver(&mut self, message: &[u8]) -> std::io::Result<()> {
        let mut framed = Vec::new();
        append_message(&mut framed, message);
        let (first, second) = framed.split_at(framed.len() / 2);
        self.0.write_all(first)?;
        self.0.write_all(second)
    }

    fn close(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

struct WebSocketSubscriber(TcpStream);

impl Subscriber for WebSocketSubscriber {
    fn deliver(&mut self, message: &[u8]) -> std::io::Result<()> {
        let mut frames = Vec::new();
        // A ping now and then, which is no message.
        append_frame(&mut frames, Opcode::Ping, b"?");
        append_frame(&mut frames, Opcode::Text, message);
        self.0.write_all(&frames)
    }

    fn close(&mut self) {
        let mut frame = Vec::new();
        append_frame(&mut frame, Opcode::Close, &close_payload(CloseCode::TooSlow, "too slow"));
        let _ = self.0.write_all(&frame);
    }
}

/// Events in chunks of the transfer coding that end anywhere, written in pieces that end elsewhere.
struct EventSubscriber(TcpStream);

/// A message as an event, behind something that is no event.
pub fn event(message: &[u8]) -> Vec<u8> {
    let mut event = RETRY_LINE.to_vec();
    append_event(&mut event, EVENT_MESSAGE, Some(1), message);
    event
}

impl Subscriber for EventSubscriber {
    fn deliver(&mut self, message: &[u8]) -> std::io::Result<()> {
        let event = event(message);
        let mut coded = Vec::new();
        for chunk in event.chunks(101) {
            coded.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            coded.extend_from_slice(chunk);
            coded.extend_from_slice(b"\r\n");
        }
        coded.chunks(67).try_for_each(|piece| self.0.write_all(piece))
    }

    fn close(&mut self) {
        let _ = self.0.write_all(b"0\r\n\r\n");
    }
}
