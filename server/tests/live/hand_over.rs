//! A restart that nobody is refused at and nobody loses a round by: a younger server takes the ports over.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use lastmile_processes::{PrivateRedis, Signal};

use crate::common::{
    End, PATIENCE, Place, Program, Subscriber, Way, certificate_files, get, round, round_id, run, soon,
};

/// The ways whose rounds come in order, so that a client knows what it had last.
const WAYS: [Way; 4] = [Way::WebSocket, Way::Sse, Way::SseHttp2, Way::Stream];

/// Time between two rounds.
const PACE: Duration = Duration::from_millis(5);

/// What the clients of a test share.
struct Crowd {
    place: Place,
    /// Clients stop once they have this round.
    last: Cell<u64>,
    /// Rounds each has received.
    received: RefCell<Vec<u64>>,
}

impl Crowd {
    fn everyone_has(&self, round_id: u64) -> bool {
        self.received.borrow().iter().all(|received| *received >= round_id)
    }
}

/// A client that comes back whenever its stream has ended, says what it had last, and must get every round once.
async fn follow(crowd: Rc<Crowd>, number: usize, way: Way) -> u32 {
    let mut had = None;
    let mut returns = 0;
    loop {
        let target = match had {
            None => way.target("crash"),
            Some(round_id) => format!("{}?since={round_id}", way.target("crash")),
        };
        let connected = Subscriber::try_connect_to(&crowd.place, way, &target).await;
        let mut subscriber = connected.unwrap_or_else(|error| panic!("{way:?} was refused: {error}"));
        loop {
            match subscriber.next_or_end().await {
                Ok(payload) => {
                    let id = round_id(&payload);
                    assert!(had.is_none_or(|had| id == had + 1), "{way:?}: {id} after {had:?}");
                    had = Some(id);
                    crowd.received.borrow_mut()[number] = id;
                    if id >= crowd.last.get() {
                        return returns;
                    }
                }
                Err(End::Told { words, .. }) => {
                    assert_eq!(words, "server going away", "{way:?}");
                    break;
                }
                Err(end) => panic!("{way:?}: {end:?} instead of a goodbye"),
            }
        }
        returns += 1;
    }
}

/// Asks for a page and for a stream, over new connections, again and again.
async fn storm(crowd: Rc<Crowd>, number: usize) -> u32 {
    let mut connections = 0;
    while !crowd.everyone_has(crowd.last.get()) {
        let answer = get(&crowd.place, "/healthz").await;
        assert_eq!(answer.status, 200, "connection {connections} of storm {number}");
        connections += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    connections
}

fn hand_over(signal: Signal, flags: &[&str]) {
    let redis = PrivateRedis::start().expect("a Redis");
    let folder = tempfile::tempdir().expect("a folder");
    let [certificate, key] = certificate_files(folder.path());
    let tls = ["--tls-cert", certificate.as_str(), "--tls-key", &key];
    let flags = [&tls[..], flags].concat();
    let older = Program::start(&redis, &flags);
    let local = tokio::task::LocalSet::new();
    run(local.run_until(async {
        let clients = 2 * WAYS.len();
        let crowd = Rc::new(Crowd {
            place: older.place.clone(),
            last: Cell::new(u64::MAX),
            received: RefCell::new(vec![0; clients]),
        });
        let publishing = tokio::task::spawn_local({
            let crowd = Rc::clone(&crowd);
            async move {
                for id in 1.. {
                    let receivers = redis.publish("stream:crash", &round("crash", id)).expect("a publish");
                    assert!(receivers > 0, "somebody serves at every moment");
                    tokio::time::sleep(PACE).await;
                    if id >= crowd.last.get() {
                        return redis;
                    }
                }
                unreachable!("rounds never end")
            }
        });
        // The Redis is the publisher's now; the younger server only needs to know where it is.
        let followers: Vec<_> = (0..clients)
            .map(|number| {
                tokio::task::spawn_local(follow(Rc::clone(&crowd), number, WAYS[number % WAYS.len()]))
            })
            .collect();
        let storms: Vec<_> =
            (0..4).map(|number| tokio::task::spawn_local(storm(Rc::clone(&crowd), number))).collect();
        wait_for(&crowd, 20).await;

        let younger = start_younger(&older, &flags).await;
        let now = *crowd.received.borrow().iter().max().expect("clients");
        wait_for(&crowd, now + 5).await;
        older.child.signal(signal).expect("a signal");
        let ended = soon("the older server ends", wait_for_end(&older)).await;
        assert_eq!(ended, Some(0), "{}", older.child.log_tail());
        assert!(older.child.log_tail().contains("a successor listens"), "{}", older.child.log_tail());
        let now = *crowd.received.borrow().iter().max().expect("clients");
        crowd.last.set(now + 100);

        let mut returns = 0;
        for follower in followers {
            returns += soon("everyone has everything", follower).await.expect("a client that was served");
        }
        let mut connections = 0;
        for storm in storms {
            connections += soon("the storm ends", storm).await.expect("connections that were taken");
        }
        println!("{signal:?}: {returns} returns, {connections} connections, none refused");
        assert!(returns >= clients as u32, "everyone was told goodbye by the older one");
        publishing.await.expect("rounds until the end");
        drop(younger);
    }));
}

/// Starts the server that is to take over, without standing in the clients' way.
async fn start_younger(older: &Program, flags: &[&str]) -> Program {
    let (place, url) = (older.place.clone(), older.redis_url.clone());
    let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let starting = tokio::task::spawn_blocking(move || {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Program::take_over(&url, &place, &flags)
    });
    soon("a younger server", starting).await.expect("a program")
}

async fn wait_for(crowd: &Crowd, round_id: u64) {
    soon(&format!("everyone has round {round_id}"), async {
        while !crowd.everyone_has(round_id) {
            tokio::time::sleep(PACE).await;
        }
    })
    .await;
}

async fn wait_for_end(program: &Program) -> Option<i32> {
    loop {
        if let Some(status) = program.child.wait(Duration::ZERO).expect("a status") {
            return status.code();
        }
        tokio::time::sleep(PACE).await;
    }
}

#[test]
fn nobody_is_refused_and_nobody_misses_a_round_when_a_successor_takes_over_at_once() {
    hand_over(Signal::TERM, &[]);
}

#[test]
fn nobody_is_refused_and_nobody_misses_a_round_when_clients_leave_one_after_the_other() {
    hand_over(Signal::USR2, &["--drain-s", "1"]);
}

#[test]
fn a_port_is_not_taken_over_without_being_named() {
    let child = Program::launch(&["--take-over", "--listen", "127.0.0.1:0", "--database", "sqlite::memory:"]);
    let status = child.wait(PATIENCE).expect("a status").expect("it ends");
    let said = child.check_running().expect_err("it has ended").to_string();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("--take-over needs the ports"), "{said}");
}
