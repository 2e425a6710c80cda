//! The client of `floor-udp`: subscribers that count what they get.
//!
//! ```text
//! bare-udp-client --server HOST:PORT --redis SOCKET --pid PID --rate N [--connections 500] [--seconds 5]
//!                 [--sockets 16] [--payload 256]
//! ```
//!
//! Publishes N rounds a second (open loop) and prints one line of JSON: deliveries a second, processor time of the
//! server and of this client a datagram, latency from publish to receipt, and how many datagrams were lost.
//!
//! Subscribers share sockets, by default as many as those of `lastmile run` do: a datagram for a socket that is being
//! read already wakes nobody, which is work the sender is spared. `--sockets` with the number of connections
//! gives each its own.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use lastmile_benches::measured::{cpu_ns, quantile};
use lastmile_benches::resp;
use lastmile_benches::round::round;
use lastmile_wire::round::peek_round_id;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::Timespec;

/// The first round's identifier.
const FIRST_ID: u64 = 1_000_000_000;

/// After the last round, what is on its way has this long to arrive.
const LINGER: Duration = Duration::from_millis(300);

/// Receive buffer of each socket: the default one loses datagrams.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// Datagrams taken from a socket before the others get their turn.
const DATAGRAMS_AT_A_TIME: usize = 32;

struct Options {
    server: String,
    redis: String,
    pid: u32,
    connections: usize,
    sockets: usize,
    seconds: f64,
    payload: usize,
    rate: f64,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        server: String::new(),
        redis: String::new(),
        pid: 0,
        connections: 500,
        sockets: 16,
        seconds: 5.0,
        payload: 256,
        rate: 0.0,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(format!("{name} needs a value"))?;
        let wrong = |_| format!("{name} {value} is no number");
        let fraction = || value.parse::<f64>().map_err(|_| format!("{name} {value} is no number"));
        match name.as_str() {
            "--server" => options.server = value,
            "--redis" => value.trim_start_matches("redis+unix://").clone_into(&mut options.redis),
            "--pid" => options.pid = value.parse().map_err(wrong)?,
            "--connections" => options.connections = value.parse().map_err(wrong)?,
            "--sockets" => options.sockets = value.parse().map_err(wrong)?,
            "--seconds" => options.seconds = fraction()?,
            "--payload" => options.payload = value.parse().map_err(wrong)?,
            "--rate" => options.rate = fraction()?,
            _ => return Err(format!("unknown argument {name}; its head comment tells what there is")),
        }
    }
    if options.rate <= 0.0 || options.seconds <= 0.0 || options.connections * options.sockets == 0 {
        return Err("--rate N is needed; rate, seconds, connections and sockets are above 0".into());
    }
    Ok(options)
}

fn main() {
    let measured = options().map_err(io::Error::other).and_then(|options| measure(&options));
    match measured {
        Ok(line) => println!("{line}"),
        Err(error) => {
            eprintln!("bare-udp-client: {error}");
            std::process::exit(2);
        }
    }
}

struct Client<'a> {
    options: &'a Options,
    epoll: OwnedFd,
    redis: UnixStream,
    sockets: Vec<UdpSocket>,
    /// When each round was published.
    sent: Vec<Instant>,
    /// Rounds before this one are warm-up.
    first_counted: usize,
    receipts: u64,
    latencies_ns: Vec<u64>,
    buffer: Vec<u8>,
}

fn measure(options: &Options) -> io::Result<String> {
    raise_file_limit()?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut sockets = Vec::with_capacity(options.sockets);
    for index in 0..options.sockets.min(options.connections) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        set_socket_recv_buffer_size(&socket, SOCKET_BUFFER_BYTES)?;
        socket.connect(&options.server)?;
        for name in (index..options.connections).step_by(options.sockets) {
            subscribe(&socket, name).map_err(|error| {
                io::Error::other(format!("{} does not answer ({error}); is it floor-udp?", options.server))
            })?;
        }
        socket.set_nonblocking(true)?;
        epoll::add(&epoll, &socket, EventData::new_u64(index as u64), EventFlags::IN)?;
        sockets.push(socket);
    }
    let redis = UnixStream::connect(&options.redis)?;
    redis.set_nonblocking(true)?;
    let mut client = Client {
        options,
        epoll,
        redis,
        sockets,
        sent: Vec::new(),
        first_counted: 0,
        receipts: 0,
        latencies_ns: Vec::new(),
        buffer: vec![0; 64 * 1024],
    };
    // Warm up, then count from zero.
    client.publish_for(Duration::from_secs_f64(options.seconds / 4.0))?;
    client.linger()?;
    client.first_counted = client.sent.len();
    client.receipts = 0;
    client.latencies_ns.clear();
    let (server_before, own_before) = (cpu_ns(options.pid)?, cpu_ns(std::process::id())?);
    let began = Instant::now();
    client.publish_for(Duration::from_secs_f64(options.seconds))?;
    let seconds = began.elapsed().as_secs_f64();
    client.linger()?;
    let server_ns = cpu_ns(options.pid)? - server_before;
    let own_ns = cpu_ns(std::process::id())? - own_before;
    for socket in &client.sockets {
        socket.send(b"unsubscribe")?;
    }
    let expected = (client.sent.len() - client.first_counted) as u64 * options.connections as u64;
    let receipts = client.receipts as f64;
    Ok(format!(
        "{{\"deliveries_per_s\":{:.0},\"server_cpu_us_per_datagram\":{:.3},\"client_cpu_us_per_receipt\":{:.3},\
         \"p50_us\":{:.1},\"p99_us\":{:.1},\"expected\":{expected},\"received\":{},\"lost\":{}}}",
        receipts / seconds,
        server_ns as f64 / 1000.0 / receipts,
        own_ns as f64 / 1000.0 / receipts,
        quantile(&mut client.latencies_ns, 0.5) as f64 / 1000.0,
        quantile(&mut client.latencies_ns, 0.99) as f64 / 1000.0,
        client.receipts,
        expected.saturating_sub(client.receipts),
    ))
}

/// Makes a subscriber known to the server.
fn subscribe(socket: &UdpSocket, name: usize) -> io::Result<()> {
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut answer = [0; 64];
    for _ in 0..3 {
        socket.send(format!("subscribe {name}").as_bytes())?;
        match socket.recv(&mut answer) {
            Ok(length) if &answer[..length] == b"subscribed" => return Ok(()),
            Ok(_) => {}
            // Either may have been lost.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn raise_file_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}

impl Client<'_> {
    fn publish_for(&mut self, length: Duration) -> io::Result<()> {
        let interval = Duration::from_secs_f64(1.0 / self.options.rate);
        let began = Instant::now();
        let mut next = began;
        while began.elapsed() < length {
            while Instant::now() >= next {
                self.publish()?;
                next += interval;
            }
            self.receive_for(next.saturating_duration_since(Instant::now()))?;
        }
        Ok(())
    }

    /// Receives until nothing has come for a while.
    fn linger(&mut self) -> io::Result<()> {
        while self.receive_for(LINGER)? {}
        Ok(())
    }

    fn publish(&mut self) -> io::Result<()> {
        let round = round(FIRST_ID + self.sent.len() as u64, self.options.payload);
        let command = resp::command(&[b"PUBLISH", b"stream:crash", &round]);
        self.sent.push(Instant::now());
        self.redis.write_all(&command)
    }

    /// Waits for datagrams and takes some from each socket that has any; whether there were any.
    fn receive_for(&mut self, wait: Duration) -> io::Result<bool> {
        let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        let mut events: Vec<Event> = Vec::with_capacity(256);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&wait)) {
            Err(Errno::INTR) => {}
            result => drop(result?),
        }
        for token in events.iter().map(|&Event { data, .. }| data.u64()) {
            self.receive(token as usize)?;
        }
        // Replies to PUBLISH are only to be got out of the way.
        let _ = self.redis.read(&mut self.buffer);
        Ok(!events.is_empty())
    }

    fn receive(&mut self, socket: usize) -> io::Result<()> {
        for _ in 0..DATAGRAMS_AT_A_TIME {
            let length = match self.sockets[socket].recv(&mut self.buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let number = peek_round_id(&self.buffer[..length]).and_then(|id| id.checked_sub(FIRST_ID));
            let number = number.map_or(usize::MAX, |number| number as usize);
            // Late ones of the warm-up, and what is none of ours, count for nothing.
            if number >= self.first_counted
                && let Some(sent) = self.sent.get(number)
            {
                self.receipts += 1;
                self.latencies_ns.push(sent.elapsed().as_nanos() as u64);
            }
        }
        Ok(())
    }
}
