//! What a shard takes to bring rounds to real sockets: a shard on its thread as in the server, subscribers on
//! loopback TCP. Measured from telling the hub until the last subscriber has read everything, so the
//! kernel's work for sender and receiver and the reader's own calls are in it.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
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
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Builder;

/// What a subscriber reads first: it is attached then.
const HEAD: &[u8] = b"attached";

/// A shard on its thread, and its subscribers.
struct Bench {
    hub: Hub,
    shard: ShardSender,
    subscribers: Vec<TcpStream>,
    thread: Option<JoinHandle<()>>,
}

impl Bench {
    fn start(subscription: &Subscription, protocol: &'static dyn StreamProtocol, subscribers: usize) -> Self {
        let (shard, inbox) = ShardSender::channel();
        let hub = Hub::new(1, vec![shard.clone()]);
        let hub_of_shard = hub.clone();
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                // Heartbeats would be bytes that nobody counts on.
                let hour = Duration::from_secs(3600);
                let metrics = Arc::new(Metrics::new(1));
                let guard = Arc::new(Guard::open(Arc::clone(&metrics)));
                let settings =
                    ShardSettings { backlog_bytes: 1 << 20, heartbeat: hour, idle_limit: hour, guard };
                let catalog = Arc::new(catalog());
                let shard = Shard::new(ShardId(0), catalog, settings, hub_of_shard, metrics);
                shard.expect("a descriptor").run(inbox).await;
            });
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let guard = Arc::new(Guard::open(Arc::new(Metrics::new(1))));
        let subscribe = |_| {
            let mut subscriber = TcpStream::connect(address).expect("a connection");
            let (socket, _) = listener.accept().expect("a connection");
            socket.set_nodelay(true).expect("a socket option");
            shard.tell(ShardInput::JoinSocket(Box::new(SocketJoin {
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
            let mut head = [0; HEAD.len()];
            subscriber.read_exact(&mut head).expect("the head");
            assert_eq!(head, HEAD);
            subscriber
        };
        let subscribers = (0..subscribers).map(subscribe).collect();
        Self { hub, shard, subscribers, thread: Some(thread) }
    }

    /// Publishes, and reads until everyone has everything.
    fn deliver(&mut self, rounds: &[Arc<Published>], buffer: &mut [u8]) {
        for (number, round) in (1..).zip(rounds) {
            self.hub.publish(round, number == rounds.len());
        }
        for subscriber in &mut self.subscribers {
            subscriber.read_exact(buffer).expect("frames");
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // The goodbyes find nobody, and the thread ends.
        self.subscribers.clear();
        self.shard.tell(ShardInput::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported there.
            let _ = thread.join();
        }
    }
}

fn catalog() -> Catalog {
    Catalog::new([("crash".to_owned(), "multiplier".to_owned())])
}

fn to_sockets(criterion: &mut Criterion) {
    raise_file_limit();
    let catalog = catalog();
    let subscription = catalog.resolve(&Topic::Game("crash".to_owned())).expect("the game is there");
    let mut group = criterion.benchmark_group("shard_to_sockets");
    // The protocol, its subscribers, and the rounds published at once.
    let cases: [(&str, &'static dyn StreamProtocol, usize, u64); 8] = [
        ("websocket", &WebSocket, 1, 1),
        ("websocket", &WebSocket, 100, 1),
        ("websocket", &WebSocket, 1000, 1),
        ("websocket", &WebSocket, 1000, 8),
        ("websocket", &WebSocket, 1000, 32),
        ("sse", &Sse, 100, 1),
        ("sse", &Sse, 1000, 1),
        ("sse", &Sse, 1000, 32),
    ];
    for (name, protocol, subscribers, in_flight) in cases {
        let rounds: Vec<_> = (1_000_000_000..1_000_000_000 + in_flight)
            .map(|id| Published::new(subscription.games()[0], id, Bytes::from(round(id, 256)), 0))
            .map(Arc::new)
            .collect();
        let frame =
            |round: &Arc<Published>| round.frame(Format::plain(protocol.framing()), Moment::Live).clone();
        let frames: Vec<u8> = rounds.iter().flat_map(frame).collect();
        let mut buffer = vec![0; frames.len()];
        let mut bench = Bench::start(&subscription, protocol, subscribers);
        bench.deliver(&rounds, &mut buffer);
        assert_eq!(buffer, frames, "what is measured is what was published");
        group.throughput(Throughput::Elements(subscribers as u64 * in_flight));
        let case = BenchmarkId::new(format!("{name}/{in_flight}_in_flight"), subscribers);
        group.bench_function(case, |bencher| {
            bencher.iter(|| bench.deliver(&rounds, &mut buffer));
        });
    }
}

/// Two descriptors a subscriber are more than the usual soft limit of 1,024 allows.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may rise to the hard one");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4));
    targets = to_sockets
}
criterion_main!(benches);
