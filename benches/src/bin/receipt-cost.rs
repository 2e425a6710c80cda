//! What a receipt costs the generator, beside a bare epoll loop that does `recv` and a substring search.
//!
//! ```text
//! cargo run --release -p lastmile-benches --bin receipt-cost
//! ```
//!
//! A feeder in this process plays server and publisher. Both clients get the same bytes on the same schedule, in turns, and a
//! turn's figure is the processor time of the client's thread, from its first connection to its last receipt, divided by
//! receipts. How often the thread went to sleep is told beside it: waking up is a large part of what a receipt costs, and a
//! client that takes a little longer with each finds more of them waiting.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use clap::Parser;
use lastmile::channels::Turns;
use lastmile::clock;
use lastmile::message::{Game, MessageTemplate};
use lastmile::receipt_log::{Detail, Extent, MOST_BYTES, ReceiptLog};
use lastmile::recorder::{Progress, Recorder};
use lastmile::schedule::{Arrivals, Schedule};
use lastmile::timetable::Timetable;
use lastmile::transport::framing::Framing;
use lastmile::transport::link::Address;
use lastmile::transport::reactor::StreamTransport;
use lastmile::transport::sse::ServerSentEvents;
use lastmile::transport::websocket::WebSocket;
use lastmile::transport::{HttpServer, Pace, Stop, Transport};
use lastmile_wire::sse::{EVENT_MESSAGE, append_event};
use lastmile_wire::websocket::{Opcode, accept_key, append_frame};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::net::{RecvFlags, recv};
use rustix::time::{ClockId, clock_gettime};

/// Bytes of a message.
const PAYLOAD: usize = 256;
const FIRST_ID: u64 = 300_000_000_000_000;
/// The event of [`Stop`] in the bare loop; others carry the index of their connection.
const STOP_KEY: u64 = u64::MAX;
/// After the last message, until the stop is said: what is under way arrives.
const REST: Duration = Duration::from_millis(100);

/// Prints, for WebSocket and SSE, the processor time of a receipt in the generator and in a bare loop, and their ratio.
#[derive(Debug, Clone, Parser)]
struct Options {
    /// Receipts a second, of all subscribers
    #[arg(long, default_value_t = 80_000.0)]
    receipts: f64,

    /// Subscribers
    #[arg(long, default_value_t = 100)]
    subscribers: usize,

    /// Length of a turn in seconds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,

    /// Turns of each client
    #[arg(long, default_value_t = 5)]
    turns: usize,

    /// Exit with code 1 where the median ratio is above this
    #[arg(long, default_value_t = 1.15)]
    most: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Protocol {
    WebSocket,
    Sse,
}

/// Who receives.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Client {
    /// The generator, with its record of single receipts, as it is in a run.
    Generator,
    /// The same without that record, as it is in a closed loop.
    WithoutRecord,
    /// The bare loop.
    Bare,
}

/// What a turn came to, for each receipt.
#[derive(Debug, Clone, Copy)]
struct Turn {
    cpu_ns: f64,
    sleeps: f64,
}

fn main() -> ExitCode {
    match compare(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("receipt-cost: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether the ratio is small enough for all protocols.
fn compare(options: &Options) -> io::Result<bool> {
    if options.subscribers == 0 || options.turns == 0 || options.receipts * options.seconds < 1.0 {
        return Err(io::Error::other("nothing is received: give subscribers, turns, receipts and seconds"));
    }
    println!(
        "{} subscribers, {} receipts/s of {PAYLOAD} bytes, {} turns of {} s, in turns; median (least–most)",
        options.subscribers, options.receipts, options.turns, options.seconds
    );
    let mut is_within = true;
    for (name, protocol) in [("ws", Protocol::WebSocket), ("sse", Protocol::Sse)] {
        let mut turns: [Vec<Turn>; 3] = Default::default();
        let clients = [Client::Generator, Client::WithoutRecord, Client::Bare];
        for number in 0..options.turns {
            // Each is first, second and last equally often.
            for place in 0..clients.len() {
                let index = (place + number) % clients.len();
                let bench = Bench::new(options, protocol, clients[index])?;
                turns[index].push(bench.turn()?);
            }
        }
        let [generator, without, bare] = &turns;
        let ratio = |of: &[Turn]| spread(of.iter().zip(bare).map(|(ours, bare)| ours.cpu_ns / bare.cpu_ns));
        let cpu = |of: &[Turn]| text(spread(of.iter().map(|turn| turn.cpu_ns)), 0);
        let sleeps = |of: &[Turn]| text(spread(of.iter().map(|turn| turn.sleeps)), 2);
        let (median, ..) = ratio(generator);
        is_within &= median <= options.most;
        println!("{name}: ratio {} × the bare loop", text(ratio(generator), 3));
        println!("  generator       {} ns a receipt, {} sleeps", cpu(generator), sleeps(generator));
        println!(
            "  without record  {} ns a receipt, {} sleeps, ratio {}",
            cpu(without),
            sleeps(without),
            text(ratio(without), 3)
        );
        println!("  bare loop       {} ns a receipt, {} sleeps", cpu(bare), sleeps(bare));
    }
    Ok(is_within)
}

/// Median, least and most.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

fn text((median, least, most): (f64, f64, f64), digits: usize) -> String {
    format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
}

struct Bench {
    subscribers: usize,
    table: Arc<Timetable>,
    template: Arc<MessageTemplate>,
    protocol: Protocol,
    client: Client,
}

impl Bench {
    fn new(options: &Options, protocol: Protocol, client: Client) -> io::Result<Self> {
        let rate = options.receipts / options.subscribers as f64;
        let length = Duration::try_from_secs_f64(options.seconds).map_err(io::Error::other)?;
        let schedule = Schedule::new(Arrivals::Constant, rate, Duration::ZERO, length, 0);
        let game = Game::known("crash").ok_or_else(|| io::Error::other("no game is called crash"))?;
        let template = MessageTemplate::new(&game, PAYLOAD, time::OffsetDateTime::UNIX_EPOCH, 1);
        Ok(Self {
            subscribers: options.subscribers,
            table: Arc::new(Timetable::new(schedule, FIRST_ID)),
            template: Arc::new(template.map_err(io::Error::other)?),
            protocol,
            client,
        })
    }

    fn receipts(&self) -> u64 {
        (self.table.len() * self.subscribers) as u64
    }

    /// Feeds the client on a thread of its own; everything has to arrive.
    fn turn(&self) -> io::Result<Turn> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let stop = Stop::new()?;
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let received = match self.client {
                    Client::Bare => bare_client(self, address, &stop),
                    Client::Generator | Client::WithoutRecord => generator(self, address, &stop),
                }?;
                let used = clock_gettime(ClockId::ThreadCPUTime);
                let used_ns = used.tv_sec as f64 * 1e9 + used.tv_nsec as f64;
                Ok::<_, io::Error>((received, used_ns, sleeps()?))
            });
            let fed = self.feed(&listener);
            thread::sleep(REST);
            stop.say();
            let client = client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // Where the client has ended early, that is why nothing could be fed.
            let (received, used_ns, sleeps) = client?;
            fed?;
            if received != self.receipts() {
                let text = format!("{received} of {} receipts came in {:?}", self.receipts(), self.client);
                return Err(io::Error::other(text));
            }
            let receipts = received as f64;
            Ok(Turn { cpu_ns: used_ns / receipts, sleeps: sleeps / receipts })
        })
    }

    fn feed(&self, listener: &TcpListener) -> io::Result<()> {
        let accepted = (0..self.subscribers).map(|_| Self::accept(listener)).collect::<io::Result<Vec<_>>>();
        let mut sockets = accepted?;
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
                socket.write_all(&framed)?;
            }
        }
        Ok(())
    }

    fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
        let mut socket = listener.accept()?.0;
        socket.set_nodelay(true)?;
        let mut request = [0; 1024];
        let length = socket.read(&mut request)?;
        let request = String::from_utf8_lossy(&request[..length]).into_owned();
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let head = match key {
            Some(key) => format!(
                "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {}\r\n\r\n",
                accept_key(key.as_bytes())
            ),
            None => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".to_owned(),
        };
        socket.write_all(head.as_bytes())?;
        Ok(socket)
    }
}

/// How often this thread has gone to sleep of its own will.
fn sleeps() -> io::Result<f64> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The generator's own client and recorder, one worker of them: how many receipts it counted.
fn generator(bench: &Bench, address: SocketAddr, stop: &Stop) -> io::Result<u64> {
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
    let recorder = recorder.with_receipts((bench.client == Client::Generator).then(log));
    let server = HttpServer { address, host: address.to_string() };
    match bench.protocol {
        Protocol::WebSocket => {
            drive(bench, WebSocket::new(server, "/ws/crash".to_owned(), 1), address, stop, recorder)?;
        }
        Protocol::Sse => {
            drive(bench, ServerSentEvents::new(server, "/sse/crash".to_owned()), address, stop, recorder)?;
        }
    }
    Ok(progress.received.load(Ordering::Acquire))
}

fn drive<F: Framing>(
    bench: &Bench,
    framing: F,
    address: SocketAddr,
    stop: &Stop,
    recorder: Recorder,
) -> io::Result<()> {
    let transport = StreamTransport { framing, address: Address::Tcp(address), tls: None };
    let driven = transport.drive(bench.subscribers, Pace { connecting: 64 }, stop, recorder);
    driven.map(drop).map_err(io::Error::other)
}

/// The least a client can do and still know what it got: how many messages it found.
fn bare_client(bench: &Bench, address: SocketAddr, stop: &Stop) -> io::Result<u64> {
    let mut sockets = Vec::new();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for index in 0..bench.subscribers {
        let mut socket = TcpStream::connect(address)?;
        socket.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
        let mut head = [0; 1024];
        if socket.read(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let key = epoll::EventData::new_u64(index as u64);
        epoll::add(&epoll, &socket, key, epoll::EventFlags::IN)?;
        sockets.push(socket);
    }
    epoll::add(&epoll, stop, epoll::EventData::new_u64(STOP_KEY), epoll::EventFlags::IN)?;
    let mut found = 0;
    let mut buffer = vec![0; 64 * 1024];
    let mut events = Vec::with_capacity(1024);
    let finder = memchr::memmem::Finder::new(b"\"round_id\":");
    loop {
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            if event.data.u64() == STOP_KEY {
                return Ok(found);
            }
            let socket = &sockets[event.data.u64() as usize];
            let (_, length) = recv(socket, &mut buffer, RecvFlags::empty())?;
            found += finder.find_iter(&buffer[..length]).count() as u64;
        }
    }
}
