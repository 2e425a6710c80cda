//! What a receipt costs the generator, beside a bare epoll loop that does `recv` and a substring search.
//!
//! ```text
//! cargo run --release -p lastmile --example receipt_cost [receipts a second] [subscribers] [seconds]
//! ```
//!
//! A feeder in this process plays server and publisher; both clients get the same bytes on the same schedule, in
//! turns, and each turn's figure is the processor time of the client's thread.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use lastmile::channels::Turns;
use lastmile::clock;
use lastmile::message::{Game, MessageTemplate};
use lastmile::receipt_log::{Detail, Extent, MOST_BYTES, ReceiptLog};
use lastmile::recorder::{Progress, Recorder};
use lastmile::schedule::{Arrivals, Schedule};
use lastmile::timetable::Timetable;
use lastmile::transport::link::Address;
use lastmile::transport::reactor::{Framing, StreamTransport};
use lastmile::transport::sse::ServerSentEvents;
use lastmile::transport::websocket::WebSocket;
use lastmile::transport::{HttpServer, Pace, Stop, Transport};
use lastmile_wire::sse::{EVENT_MESSAGE, append_event};
use lastmile_wire::websocket::{Opcode, accept_key, append_frame};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;

/// Turns of each client.
const TURNS: usize = 5;
/// Bytes of a message.
const PAYLOAD: usize = 256;
const FIRST_ID: u64 = 300_000_000_000_000;

#[derive(Clone, Copy, PartialEq)]
enum Protocol {
    WebSocket,
    Sse,
}

struct Bench {
    subscribers: usize,
    table: Arc<Timetable>,
    template: Arc<MessageTemplate>,
    protocol: Protocol,
    /// Our client keeps single receipts, as it does in a run.
    keeps_receipts: bool,
}

fn main() {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<f64>().expect("a number"));
    let receipts_per_second = numbers.next().unwrap_or(80_000.0);
    let subscribers = numbers.next().unwrap_or(100.0) as usize;
    let seconds = numbers.next().unwrap_or(2.0);
    for (name, protocol) in [("ws", Protocol::WebSocket), ("sse", Protocol::Sse)] {
        let mut ours = Vec::new();
        let mut without = Vec::new();
        let mut bare = Vec::new();
        for _ in 0..TURNS {
            let bench = |keeps| Bench::new(receipts_per_second, subscribers, seconds, protocol, keeps);
            ours.push(bench(true).turn(our_client));
            without.push(bench(false).turn(our_client));
            bare.push(bench(false).turn(bare_client));
        }
        let [ours, without, bare] = [&mut ours, &mut without, &mut bare].map(|values| median(values));
        println!(
            "{name}: {ours:.0} ns a receipt ({without:.0} without the record of single receipts), bare loop {bare:.0} ns, ratio {:.3} ({:.3}) ({subscribers} subscribers, {receipts_per_second:.0} receipts/s, {PAYLOAD} B)",
            ours / bare,
            without / bare
        );
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Bench {
    fn new(
        receipts_per_second: f64,
        subscribers: usize,
        seconds: f64,
        protocol: Protocol,
        keeps_receipts: bool,
    ) -> Self {
        let rate = receipts_per_second / subscribers as f64;
        let length = Duration::from_secs_f64(seconds);
        let schedule = Schedule::new(Arrivals::Constant, rate, Duration::ZERO, length, 0);
        let game = Game::known("crash").expect("a known game");
        let template = MessageTemplate::new(&game, PAYLOAD, time::OffsetDateTime::UNIX_EPOCH, 1)
            .expect("the payload is large enough");
        Self {
            subscribers,
            table: Arc::new(Timetable::new(schedule, FIRST_ID)),
            template: Arc::new(template),
            protocol,
            keeps_receipts,
        }
    }

    /// Nanoseconds of processor time a receipt costs a client.
    fn turn(&self, client: fn(&Bench, SocketAddr, &Stop)) -> f64 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = Stop::new().expect("a descriptor");
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                client(self, address, &stop);
                let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
                used.tv_sec as f64 * 1e9 + used.tv_nsec as f64
            });
            self.feed(&listener);
            // The last bytes are read before the stop is seen.
            thread::sleep(Duration::from_millis(100));
            stop.say();
            let used_ns = client.join().expect("the client ends");
            used_ns / (self.table.len() * self.subscribers) as f64
        })
    }

    fn feed(&self, listener: &TcpListener) {
        let mut sockets: Vec<TcpStream> = (0..self.subscribers).map(|_| Self::accept(listener)).collect();
        self.table.begin(clock::now_ns() + 10_000_000);
        let mut message = self.template.bytes().to_vec();
        let mut framed = Vec::new();
        for index in 0..self.table.len() {
            clock::sleep_until(self.table.planned_ns(index));
            MessageTemplate::write_id(&mut message, self.table.id_of(index));
            framed.clear();
            match self.protocol {
                Protocol::WebSocket => append_frame(&mut framed, Opcode::Text, &message),
                Protocol::Sse => {
                    append_event(&mut framed, EVENT_MESSAGE, Some(self.table.id_of(index)), &message);
                }
            }
            self.table.note_sent(index, clock::now_ns());
            for socket in &mut sockets {
                socket.write_all(&framed).expect("the client reads");
            }
        }
    }

    fn accept(listener: &TcpListener) -> TcpStream {
        let mut socket = listener.accept().expect("a client").0;
        socket.set_nodelay(true).expect("a TCP socket");
        let mut request = [0; 1024];
        let length = socket.read(&mut request).expect("a request");
        let request = String::from_utf8_lossy(&request[..length]).into_owned();
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let head = match key {
            Some(key) => format!(
                "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {}\r\n\r\n",
                accept_key(key.as_bytes())
            ),
            None => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".to_owned(),
        };
        socket.write_all(head.as_bytes()).expect("the client reads");
        socket
    }
}

fn our_client(bench: &Bench, address: SocketAddr, stop: &Stop) {
    let progress = Arc::<Progress>::default();
    let recorder = Recorder::new(
        Arc::clone(&bench.table),
        Arc::new([(*bench.template).clone()]),
        Turns::new(1),
        Arc::clone(&progress),
        bench.subscribers,
    );
    let extent = Extent::new(0, bench.table.len(), bench.subscribers, Detail::Codes, MOST_BYTES);
    let log = || ReceiptLog::new(extent, bench.subscribers, Turns::new(1));
    let recorder = recorder.with_receipts(bench.keeps_receipts.then(log));
    let server = HttpServer { address, host: address.to_string() };
    match bench.protocol {
        Protocol::WebSocket => {
            drive(bench, WebSocket::new(server, "/ws/crash".to_owned(), 1), address, stop, recorder);
        }
        Protocol::Sse => {
            drive(bench, ServerSentEvents::new(server, "/sse/crash".to_owned()), address, stop, recorder);
        }
    }
    let received = progress.received.load(Ordering::Acquire);
    assert_eq!(received, (bench.table.len() * bench.subscribers) as u64);
}

fn drive<F: Framing>(bench: &Bench, framing: F, address: SocketAddr, stop: &Stop, recorder: Recorder) {
    let transport = StreamTransport { framing, address: Address::Tcp(address), tls: None };
    transport.drive(bench.subscribers, Pace { connecting: 64 }, stop, recorder).expect("all attach");
}

/// The least a client can do and still know what it got.
fn bare_client(bench: &Bench, address: SocketAddr, stop: &Stop) {
    let mut sockets = Vec::new();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("a descriptor");
    for index in 0..bench.subscribers {
        let mut socket = TcpStream::connect(address).expect("the feeder listens");
        socket.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("the feeder reads");
        let mut head = [0; 1024];
        assert!(socket.read(&mut head).expect("an answer") > 0);
        let key = epoll::EventData::new_u64(index as u64);
        epoll::add(&epoll, &socket, key, epoll::EventFlags::IN).expect("a socket");
        sockets.push(socket);
    }
    epoll::add(&epoll, stop, epoll::EventData::new_u64(u64::MAX), epoll::EventFlags::IN).expect("an event");
    let found = AtomicU64::new(0);
    let mut buffer = vec![0; 64 * 1024];
    let mut events = Vec::with_capacity(1024);
    let finder = memchr::memmem::Finder::new(b"\"round_id\":");
    loop {
        epoll::wait(&epoll, spare_capacity(&mut events), None).expect("epoll works");
        for event in events.drain(..) {
            if event.data.u64() == u64::MAX {
                return assert_eq!(
                    found.load(Ordering::Relaxed),
                    (bench.table.len() * bench.subscribers) as u64
                );
            }
            let socket = &sockets[event.data.u64() as usize];
            let (_, length) =
                rustix::net::recv(socket, &mut buffer, rustix::net::RecvFlags::empty()).expect("bytes");
            let count = finder.find_iter(&buffer[..length]).count() as u64;
            found.store(found.load(Ordering::Relaxed) + count, Ordering::Relaxed);
        }
    }
}
