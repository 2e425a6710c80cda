//! Instructions per delivery of the server's hot path, counted by callgrind: for machines too noisy for time.
//!
//! From the hub through a shard to its subscribers, on one thread, so that the count repeats to a fraction of a per
//! cent on any machine. A case runs twice with different numbers of rounds; the difference holds deliveries alone, for
//! starting and attaching are in both.
//!
//!     cargo bench -p lastmile-benches --bench instructions                     prints the counts
//!     cargo bench -p lastmile-benches --bench instructions -- --save FILE      keeps them
//!     cargo bench -p lastmile-benches --bench instructions -- --check FILE     exit code 1 where one is over 2 % more
//!
//! Counts of another compiler are other counts: save and check on one machine (`scripts/instructions` does).

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lastmile_benches::round::round;
use lastmile_server::catalog::{Catalog, Subscription};
use lastmile_server::guard::{Access, Guard, Transport};
use lastmile_server::hub::{From, Hub};
use lastmile_server::metrics::Metrics;
use lastmile_server::protocol::StreamProtocol;
use lastmile_server::protocol::sse::Sse;
use lastmile_server::protocol::websocket::WebSocket;
use lastmile_server::published::{Format, Moment, Published};
use lastmile_server::shard::{Shard, ShardId, ShardInput, ShardSender, ShardSettings, Socket, SocketJoin};
use lastmile_wire::request::Topic;
use tokio::runtime::Builder;
use tokio::task::{LocalSet, yield_now};

/// Subscribers of every case.
const SUBSCRIBERS: usize = 50;
/// Rounds of the shorter and the longer run.
const ROUNDS: [u64; 2] = [64, 320];
/// Growth that fails a check, in per cent.
const ALLOWED_PERCENT: f64 = 2.0;
/// What a subscriber reads first: it is attached then.
const HEAD: &[u8] = b"attached";

/// Names of the cases: the protocol, and the rounds published at once.
const CASES: [(&str, &dyn StreamProtocol, u64); 4] = [
    ("websocket/1_in_flight", &WebSocket, 1),
    ("websocket/32_in_flight", &WebSocket, 32),
    ("sse/1_in_flight", &Sse, 1),
    ("sse/32_in_flight", &Sse, 32),
];

fn main() -> ExitCode {
    // cargo passes --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--run", case, rounds] => {
            let rounds = rounds.parse().expect("the driver passes a number");
            let (_, protocol, in_flight) =
                CASES.into_iter().find(|(name, ..)| *name == case).expect("a case");
            deliver(protocol, in_flight, rounds);
            ExitCode::SUCCESS
        }
        [] => drive(|_| ExitCode::SUCCESS),
        ["--save", file] => drive(|counts| save(file, counts)),
        ["--check", file] => drive(|counts| check(file, counts)),
        _ => {
            eprintln!("instructions: use --save FILE, --check FILE or nothing");
            ExitCode::from(2)
        }
    }
}

/// Counts every case and prints it.
fn drive(then: impl FnOnce(&BTreeMap<String, f64>) -> ExitCode) -> ExitCode {
    if let Err(error) = Command::new("valgrind").arg("--version").output() {
        println!(
            "instructions: skipped: valgrind can't be run ({error}); install it: apt-get install valgrind"
        );
        return ExitCode::SUCCESS;
    }
    let mut counts = BTreeMap::new();
    for (case, ..) in CASES {
        let counted: Result<Vec<u64>, String> = ROUNDS.iter().map(|rounds| count(case, *rounds)).collect();
        match counted {
            Ok(counted) => {
                let deliveries = (ROUNDS[1] - ROUNDS[0]) * SUBSCRIBERS as u64;
                let each = counted[1].saturating_sub(counted[0]) as f64 / deliveries as f64;
                println!("{case:<24} {each:>10.1} instructions/delivery");
                counts.insert(case.to_owned(), each);
            }
            Err(error) => {
                eprintln!("instructions: {case}: {error}");
                return ExitCode::from(3);
            }
        }
    }
    then(&counts)
}

/// All instructions of a run.
fn count(case: &str, rounds: u64) -> Result<u64, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args(["--run", case, &rounds.to_string()])
        .output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    match collected {
        Some(instructions) if output.status.success() => Ok(instructions),
        _ => Err(format!("valgrind ended with {}: {}", output.status, said.trim())),
    }
}

fn save(file: &str, counts: &BTreeMap<String, f64>) -> ExitCode {
    let lines: Vec<String> = counts.iter().map(|(case, each)| format!("{case} {each}")).collect();
    match fs::write(file, lines.join("\n") + "\n") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {file}: {error}");
            ExitCode::from(2)
        }
    }
}

fn check(file: &str, counts: &BTreeMap<String, f64>) -> ExitCode {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("instructions: {file}: {error}; make it with --save");
            return ExitCode::from(2);
        }
    };
    let before: BTreeMap<&str, f64> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(case, each)| Some((case, each.parse().ok()?)))
        .collect();
    let mut code = 0;
    for (case, each) in counts {
        let Some(before) = before.get(case.as_str()).filter(|before| **before > 0.0) else {
            eprintln!("instructions: {file} has no count of {case}");
            code = 2;
            continue;
        };
        let percent = (each / before - 1.0) * 100.0;
        let word = if percent > ALLOWED_PERCENT { "REGRESSION" } else { "pass" };
        println!("{case:<24} {before:>10.1} -> {each:>10.1}  {percent:>+6.2} %  {word}");
        if percent > ALLOWED_PERCENT {
            code = code.max(1);
        }
    }
    ExitCode::from(code)
}

fn catalog() -> Catalog {
    Catalog::new([("crash".to_owned(), "multiplier".to_owned())])
}

/// Publishes so many rounds, some at a time, and has every subscriber read each.
fn deliver(protocol: &'static dyn StreamProtocol, in_flight: u64, rounds: u64) {
    let subscription = catalog().resolve(&Topic::Game("crash".to_owned())).expect("the game is there");
    let publish = |id| Arc::new(Published::new(subscription.games()[0], id, Bytes::from(round(id, 256)), 0));
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let (hub, mut subscribers) = attach(&subscription, protocol).await;
        let mut buffer = vec![0; 64 << 10];
        for first in (0..rounds).step_by(in_flight as usize) {
            let batch: Vec<_> =
                (first..first + in_flight).map(|number| publish(1_000_000_000 + number)).collect();
            let format = Format::plain(protocol.framing());
            let bytes = batch.iter().map(|round| round.frame(format, Moment::Live).len()).sum();
            for (number, round) in (1..).zip(&batch) {
                hub.publish(round, number == batch.len());
            }
            for subscriber in &mut subscribers {
                read(subscriber, &mut buffer[..bytes]).await;
            }
        }
    });
}

/// A hub and a shard on this thread, and subscribers that are attached to it over TCP.
async fn attach(subscription: &Subscription, protocol: &'static dyn StreamProtocol) -> (Hub, Vec<TcpStream>) {
    // Heartbeats would be work that nobody counts on.
    let hour = Duration::from_secs(3600);
    let metrics = Arc::new(Metrics::new(1));
    let guard = Arc::new(Guard::open(Arc::clone(&metrics)));
    let settings = ShardSettings {
        backlog_bytes: 1 << 20,
        heartbeat: hour,
        idle_limit: hour,
        guard: Arc::clone(&guard),
    };
    let (sender, inbox) = ShardSender::channel();
    let hub = Hub::new(1, vec![sender.clone()]);
    let shard = Shard::new(ShardId(0), Arc::new(catalog()), settings, hub.clone(), metrics);
    tokio::task::spawn_local(shard.expect("a descriptor").run(inbox));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut subscribers = Vec::with_capacity(SUBSCRIBERS);
    for _ in 0..SUBSCRIBERS {
        let mut subscriber = TcpStream::connect(address).expect("a connection");
        let (socket, _) = listener.accept().expect("a connection");
        socket.set_nodelay(true).expect("a socket option");
        sender.tell(ShardInput::JoinSocket(Box::new(SocketJoin {
            socket: Socket::Plain(OwnedFd::from(socket)),
            protocol,
            format: Format::plain(protocol.framing()),
            access: Access::Granted,
            subscription: subscription.clone(),
            from: From::default(),
            head: Bytes::from_static(HEAD),
            early: Vec::new(),
            permit: guard.connect(Transport::Tcp, Ipv4Addr::LOCALHOST.into()).expect("a place"),
        })));
        subscriber.set_nonblocking(true).expect("a socket option");
        read(&mut subscriber, &mut [0; HEAD.len()]).await;
        subscribers.push(subscriber);
    }
    (hub, subscribers)
}

/// Reads so many bytes; the shard, on the same thread, has its turn whenever there are none.
async fn read(subscriber: &mut TcpStream, buffer: &mut [u8]) {
    let mut seen = 0;
    while seen < buffer.len() {
        match subscriber.read(&mut buffer[seen..]) {
            Ok(0) => panic!("the shard hung up"),
            Ok(more) => seen += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}
