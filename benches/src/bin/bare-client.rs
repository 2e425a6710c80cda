//! A client as small as it can be: an epoll loop that does `recv` and counts rounds by searching for their
//! first bytes. It measures servers beside `lastmile run`, independently of it, and is the floor under the
//! load generator's own cost.
//!
//! ```text
//! bare-client --server HOST:PORT --redis SOCKET --pid PID [--path /ws/crash] [--connections 1000]
//!             [--seconds 5] [--payload 256] (--in-flight N | --rate N)
//! ```
//!
//! `--in-flight N` publishes whenever fewer than N messages have not reached everyone (closed loop:
//! throughput, no latency claim); `--rate N` publishes N a second and prints the latency from publish to
//! receipt. One line of JSON is printed.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use lastmile_benches::measured::{cpu_ns, quantile, rss_bytes};
use lastmile_benches::resp;
use lastmile_benches::round::round;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

/// What every round of ours contains exactly once.
const MARK: &[u8] = b"\"round_id\":";

struct Options {
    server: String,
    redis: String,
    pid: u32,
    path: String,
    connections: usize,
    seconds: f64,
    payload: usize,
    in_flight: Option<u64>,
    rate: f64,
    idle: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        server: String::new(),
        redis: String::new(),
        pid: 0,
        path: "/ws/crash".into(),
        connections: 1000,
        seconds: 5.0,
        payload: 256,
        in_flight: None,
        rate: 0.0,
        idle: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--idle" {
            options.idle = true;
            continue;
        }
        let value = arguments.next().ok_or(format!("{name} needs a value"))?;
        let wrong = |_| format!("{name} {value} is no number");
        match name.as_str() {
            "--server" => options.server = value,
            "--redis" => value.trim_start_matches("redis+unix://").clone_into(&mut options.redis),
            "--pid" => options.pid = value.parse().map_err(wrong)?,
            "--path" => options.path = value,
            "--connections" => options.connections = value.parse().map_err(wrong)?,
            "--seconds" => {
                options.seconds = value.parse().map_err(|_| format!("{name} {value} is no number"))?;
            }
            "--payload" => options.payload = value.parse().map_err(wrong)?,
            "--in-flight" => options.in_flight = Some(value.parse().map_err(wrong)?),
            "--rate" => options.rate = value.parse().map_err(|_| format!("{name} {value} is no number"))?,
            _ => return Err(format!("unknown argument {name}; its head comment tells what there is")),
        }
    }
    if options.in_flight.is_none() && options.rate <= 0.0 && !options.idle {
        return Err("give --in-flight N, --rate N or --idle".into());
    }
    Ok(options)
}

fn main() {
    let measured = options().map_err(io::Error::other).and_then(|options| measure(&options));
    match measured {
        Ok(line) => println!("{line}"),
        Err(error) => {
            eprintln!("bare-client: {error}");
            std::process::exit(2);
        }
    }
}

/// A subscriber: its socket, how many rounds it has, and the end of what was read last, where a mark may
/// have been cut.
struct Subscriber {
    stream: TcpStream,
    received: u64,
    tail: Vec<u8>,
}

/// A message on its way.
struct Flying {
    sent: Instant,
    missing: usize,
}

struct Client<'a> {
    options: &'a Options,
    redis: UnixStream,
    published: u64,
    /// Messages that have not reached everyone; the first is number `published - flying.len()`.
    flying: VecDeque<Flying>,
    receipts: u64,
    latencies_ns: Vec<u64>,
    complete_ns: Vec<u64>,
}

fn measure(options: &Options) -> io::Result<String> {
    let rss_before = rss_bytes(options.pid)?;
    let connecting = Instant::now();
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut subscribers = Vec::with_capacity(options.connections);
    for index in 0..options.connections {
        let stream = subscribe(options)?;
        epoll::add(&epoll, &stream, EventData::new_u64(index as u64), EventFlags::IN)?;
        subscribers.push(Subscriber { stream, received: 0, tail: Vec::new() });
    }
    let connected_s = connecting.elapsed().as_secs_f64();
    if options.idle {
        std::thread::sleep(Duration::from_secs_f64(options.seconds));
        let grown = rss_bytes(options.pid)?.saturating_sub(rss_before);
        return Ok(format!(
            "{{\"connections\":{},\"connects_per_s\":{:.0},\"rss_bytes_per_connection\":{:.0}}}",
            options.connections,
            options.connections as f64 / connected_s,
            grown as f64 / options.connections as f64,
        ));
    }
    let redis = UnixStream::connect(&options.redis)?;
    redis.set_nonblocking(true)?;
    let mut client = Client {
        options,
        redis,
        published: 0,
        flying: VecDeque::new(),
        receipts: 0,
        latencies_ns: Vec::new(),
        complete_ns: Vec::new(),
    };
    // Warm up, then count from zero.
    client.drive(&epoll, &mut subscribers, Duration::from_secs_f64(options.seconds / 4.0))?;
    client.receipts = 0;
    client.latencies_ns.clear();
    client.complete_ns.clear();
    let (server_before, own_before) = (cpu_ns(options.pid)?, cpu_ns(std::process::id())?);
    let began = Instant::now();
    client.drive(&epoll, &mut subscribers, Duration::from_secs_f64(options.seconds))?;
    let seconds = began.elapsed().as_secs_f64();
    let server_ns = cpu_ns(options.pid)? - server_before;
    let own_ns = cpu_ns(std::process::id())? - own_before;
    let receipts = client.receipts as f64;
    let latency = |values: &mut Vec<u64>, at: f64| quantile(values, at) as f64 / 1000.0;
    Ok(format!(
        "{{\"deliveries_per_s\":{:.0},\"server_cpu_us_per_delivery\":{:.3},\"client_cpu_us_per_receipt\":{:.3},\
         \"p50_us\":{:.1},\"p99_us\":{:.1},\"complete_p50_us\":{:.1},\"connects_per_s\":{:.0}}}",
        receipts / seconds,
        server_ns as f64 / 1000.0 / receipts,
        own_ns as f64 / 1000.0 / receipts,
        latency(&mut client.latencies_ns, 0.5),
        latency(&mut client.latencies_ns, 0.99),
        latency(&mut client.complete_ns, 0.5),
        options.connections as f64 / connected_s,
    ))
}

fn subscribe(options: &Options) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(&options.server)?;
    let upgrade = if options.path.starts_with("/sse") {
        ""
    } else {
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    };
    write!(stream, "GET {} HTTP/1.1\r\nHost: {}\r\n{upgrade}\r\n", options.path, options.server)?;
    let mut head = Vec::new();
    let mut byte = [0; 4096];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut byte)? {
            0 => return Err(io::Error::other(format!("refused: {}", String::from_utf8_lossy(&head)))),
            count => head.extend_from_slice(&byte[..count]),
        }
    }
    if !head.starts_with(b"HTTP/1.1 101") && !head.starts_with(b"HTTP/1.1 200") {
        return Err(io::Error::other(format!("refused: {}", String::from_utf8_lossy(&head))));
    }
    stream.set_nonblocking(true)?;
    Ok(stream)
}

impl Client<'_> {
    fn drive(
        &mut self,
        epoll: &std::os::fd::OwnedFd,
        subscribers: &mut [Subscriber],
        length: Duration,
    ) -> io::Result<()> {
        let began = Instant::now();
        let interval = Duration::from_secs_f64(1.0 / self.options.rate.max(1e-3));
        let mut next = began;
        let mut events: Vec<Event> = Vec::with_capacity(1024);
        let mut buffer = vec![0; 256 * 1024];
        while began.elapsed() < length {
            let wait = match self.options.in_flight {
                Some(limit) => {
                    while (self.flying.len() as u64) < limit {
                        self.publish(subscribers.len())?;
                    }
                    Duration::from_millis(100)
                }
                None => {
                    while Instant::now() >= next {
                        self.publish(subscribers.len())?;
                        next += interval;
                    }
                    next.saturating_duration_since(Instant::now())
                }
            };
            let wait = Timespec { tv_sec: 0, tv_nsec: wait.as_nanos().min(100_000_000) as i64 };
            events.clear();
            match epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), Some(&wait)) {
                Err(Errno::INTR) => continue,
                result => result?,
            };
            for token in events.iter().map(|&Event { data, .. }| data.u64()) {
                self.receive(&mut subscribers[token as usize], &mut buffer)?;
            }
            // Replies to PUBLISH are only to be got out of the way.
            let _ = self.redis.read(&mut buffer);
        }
        Ok(())
    }

    fn publish(&mut self, subscribers: usize) -> io::Result<()> {
        let round = round(1_000_000_000 + self.published, self.options.payload);
        let command = resp::command(&[b"PUBLISH", b"stream:crash", &round]);
        self.flying.push_back(Flying { sent: Instant::now(), missing: subscribers });
        self.published += 1;
        self.redis.write_all(&command)
    }

    fn receive(&mut self, subscriber: &mut Subscriber, buffer: &mut [u8]) -> io::Result<()> {
        let kept = subscriber.tail.len();
        buffer[..kept].copy_from_slice(&subscriber.tail);
        let count = match subscriber.stream.read(&mut buffer[kept..]) {
            Ok(0) => return Err(io::Error::other("the server closed a connection")),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let now = Instant::now();
        let bytes = &buffer[..kept + count];
        let mut end = 0;
        for at in memchr::memmem::find_iter(bytes, MARK) {
            end = at + MARK.len();
            self.received(subscriber.received, now);
            subscriber.received += 1;
        }
        subscriber.tail.clear();
        subscriber.tail.extend_from_slice(&bytes[end.max(bytes.len().saturating_sub(MARK.len() - 1))..]);
        Ok(())
    }

    fn received(&mut self, number: u64, now: Instant) {
        self.receipts += 1;
        let first = self.published - self.flying.len() as u64;
        let flying = &mut self.flying[(number - first) as usize];
        flying.missing -= 1;
        if self.options.in_flight.is_none() {
            self.latencies_ns.push(now.duration_since(flying.sent).as_nanos() as u64);
        }
        while let Some(done) = self.flying.front().filter(|flying| flying.missing == 0) {
            self.complete_ns.push(now.duration_since(done.sent).as_nanos() as u64);
            self.flying.pop_front();
        }
    }
}
