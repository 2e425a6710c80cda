//! Told to end, the program says goodbye in each protocol's own words and is gone within five seconds.

use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use lastmile_processes::{PrivateRedis, Signal};
use tokio::io::AsyncWriteExt;

use crate::common::{End, Program, Subscriber, Way, large_round, open, round, run};

/// What the program has from the signal until its end.
const LIMIT: Duration = Duration::from_secs(5);

fn goodbye(way: Way) -> End {
    let code = match way {
        Way::WebSocket => Some(1001),
        Way::Sse | Way::SseHttp2 => None,
        Way::Stream | Way::Streams | Way::Datagram => Some(0),
    };
    End::Told { code, words: "server going away".to_owned() }
}

#[test]
fn every_protocol_gets_its_goodbye_on_either_signal() {
    let redis = PrivateRedis::start().expect("a Redis");
    for tls in [&[][..], &["--tls", "self-signed"]] {
        for signal in [Signal::TERM, Signal::INT] {
            run(async {
                let program = Program::start(&redis, tls);
                let mut subscribers = Vec::new();
                for way in Way::ALL {
                    subscribers.push(Subscriber::connect(&program.place, way, "crash").await);
                }
                redis.publish("stream:crash", &round("crash", 1)).expect("a publish");
                for subscriber in &mut subscribers {
                    assert_eq!(subscriber.next_id().await, 1);
                }
                program.child.signal(signal).expect("a signal");
                for subscriber in &mut subscribers {
                    let way = subscriber.way;
                    assert_eq!(subscriber.drain().await, (vec![], goodbye(way)), "{way:?} on {signal:?}");
                }
                drop(subscribers);
                ends_well(&program);
            });
        }
    }
}

#[test]
fn nobody_needs_company_to_get_a_goodbye() {
    let redis = PrivateRedis::start().expect("a Redis");
    for tls in [&[][..], &["--tls", "self-signed"]] {
        for way in Way::ALL {
            run(async {
                let program = Program::start(&redis, tls);
                let mut subscriber = Subscriber::connect(&program.place, way, "crash").await;
                program.child.signal(Signal::TERM).expect("a signal");
                assert_eq!(subscriber.drain().await, (vec![], goodbye(way)), "{way:?} alone");
                drop(subscriber);
                ends_well(&program);
            });
        }
    }
}

#[test]
fn clients_that_read_nothing_and_requests_half_made_do_not_hold_the_end_up() {
    let redis = PrivateRedis::start().expect("a Redis");
    for tls in [&[][..], &["--tls", "self-signed"]] {
        run(async {
            let program = Program::start(&redis, &[tls, &["--backlog-bytes", "67108864"]].concat());
            let mut idle = Vec::new();
            for way in Way::ALL {
                idle.push(Subscriber::connect(&program.place, way, "slot").await);
            }
            let mut reader = Subscriber::connect(&program.place, Way::WebSocket, "slot").await;
            let mut half_made = open(&program.place, "http/1.1").await;
            half_made.write_all(b"GET /ws/crash HTTP/1.1\r\nhost:").await.expect("half a request");
            // More than the kernel takes for a client that does not read.
            for id in 0..400 {
                let payload = large_round("slot", id, 16 * 1024);
                redis.publish("stream:slot", &payload).expect("a publish");
                assert!(reader.next().await == payload);
            }
            program.child.signal(Signal::TERM).expect("a signal");
            assert_eq!(reader.drain().await, (vec![], goodbye(Way::WebSocket)));
            ends_well(&program);
            drop(idle);
        });
    }
}

#[test]
fn a_signal_that_comes_as_soon_as_the_program_is_ready_is_heard() {
    let redis = PrivateRedis::start().expect("a Redis");
    for _ in 0..10 {
        let program = Program::start(&redis, &[]);
        program.child.signal(Signal::TERM).expect("a signal");
        ends_well(&program);
    }
}

/// Sees that the program ends in time and in order, and leaves nothing.
fn ends_well(program: &Program) {
    let ended = program.child.wait(LIMIT).expect("a status");
    let said = program.child.log_tail();
    let status = ended.unwrap_or_else(|| panic!("still running after {LIMIT:?}\n{said}"));
    assert_eq!(status.code(), Some(0), "{status}\n{said}");
    assert!(!said.contains("panicked"), "{said}");
    TcpListener::bind(program.place.http).expect("the port is free");
    UdpSocket::bind(program.place.webtransport).expect("the port is free");
}
