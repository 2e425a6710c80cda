//! What clients say on an open connection: they change what they get, without a gap and without a duplicate.

use lastmile_wire::msgpack;
use lastmile_wire::request::Encoding;

use crate::common::{
    End, Form, Site, Subscriber, Way, every_way, round, round_id, run, soon, until, webtransport,
};

fn ways() -> impl Iterator<Item = Way> {
    Way::ALL.into_iter().filter(|way| way.has_commands())
}

#[test]
fn a_game_that_is_added_begins_with_its_latest_round_and_one_that_is_left_ends() {
    every_way(&[], async |site| {
        for form in Form::ALL {
            for way in ways() {
                site.publish_heard("double", &round("double", 70)).await;
                site.publish_heard("slot", &round("slot", 4)).await;
                let mut subscriber = Subscriber::connect_in(&site.place, way, "slot", form).await;
                assert!(subscriber.next().await == form.of(&round("slot", 4)), "{way:?} {form:?}");
                assert_eq!(
                    subscriber.say(r#"{"subscribe":["double"]}"#).await,
                    r#"{"subscribed":["double","slot"]}"#
                );
                let what = format!("{way:?} {form:?}");
                assert_eq!(
                    subscriber.next().await,
                    form.of(&round("double", 70)),
                    "{what}: the latest first"
                );
                site.publish("double", &round("double", 71));
                assert!(subscriber.next().await == form.of(&round("double", 71)), "{what}");
                // Twice is once, and what is already there does not begin again.
                let again = subscriber.say(r#"{"subscribe":["double","type/color"]}"#).await;
                assert_eq!(again, r#"{"subscribed":["double","slot"]}"#);
                let left = subscriber.say(r#"{"unsubscribe":["double","crash"]}"#).await;
                assert_eq!(left, r#"{"subscribed":["slot"]}"#);
                site.publish("double", &round("double", 72));
                site.publish("slot", &round("slot", 5));
                assert!(subscriber.next().await == form.of(&round("slot", 5)), "{what}: not 72");
                // To nothing and back.
                assert_eq!(subscriber.say(r#"{"unsubscribe":["slot"]}"#).await, r#"{"subscribed":[]}"#);
                let back = subscriber.say(r#"{"subscribe":["slot"]}"#).await;
                assert_eq!(back, r#"{"subscribed":["slot"]}"#);
                assert!(subscriber.next().await == form.of(&round("slot", 5)), "{what}");
            }
        }
    });
}

#[test]
fn what_is_no_command_is_answered_and_nothing_else_happens() {
    every_way(&[], async |site| {
        for way in ways() {
            let mut subscriber = site.connect(way, "crash").await;
            for number in ["7", "-1", "1768621542123.25"] {
                let pong = subscriber.say(&format!(r#"{{"ping":{number}}}"#)).await;
                assert_eq!(pong, format!(r#"{{"pong":{number}}}"#), "{way:?}");
            }
            for (command, word) in [
                ("hello", "unknown command"),
                (r#"{"subscribe":["poker"]}"#, "poker"),
                (r#"{"subscribe":["double","type/poker"]}"#, "type poker"),
                (r#"{"unsubscribe":["../crash"]}"#, "unsubscribe takes"),
            ] {
                let answer = subscriber.say(command).await;
                assert!(
                    answer.starts_with(r#"{"error":"#) && answer.contains(word),
                    "{way:?} {command}: {answer}"
                );
            }
            assert_eq!(
                subscriber.say(r#"{"auth":"whatever"}"#).await,
                r#"{"authenticated":true}"#,
                "{way:?}"
            );
            site.publish("double", &round("double", 1));
            site.publish("crash", &round("crash", 1));
            assert_eq!(subscriber.next().await, round("crash", 1), "{way:?}");
            drop(subscriber);
        }
    });
}

#[test]
fn a_datagram_takes_a_command_and_is_answered_by_one() {
    let site = Site::start(&[]);
    run(async {
        let (connection, _endpoint) =
            webtransport::session(&site.place, "/wt/crash").await.expect("a session");
        for (command, answer) in [
            (r#"{"ping":7}"#, r#"{"pong":7}"#),
            (r#"{"subscribe":["double"]}"#, r#"{"subscribed":["crash","double"]}"#),
        ] {
            connection.send_datagram(command).expect("a datagram");
            let received = soon("an answer", connection.receive_datagram()).await.expect("an answer");
            assert_eq!(String::from_utf8_lossy(&received), answer);
        }
    });
}

#[test]
fn ten_thousand_commands_cost_the_others_nothing_and_too_many_a_second_end_the_connection() {
    for (flags, is_limited) in [
        (&["--commands-per-second", "20"][..], true),
        (&[][..], false),
        // One record holds hundreds of commands, and nothing but the shard knows of those that it has not heard yet.
        (&["--tls", "self-signed"][..], false),
    ] {
        let site = Site::start(flags);
        run(async {
            let mut bystander = site.connect(Way::WebSocket, "crash").await;
            let mut busy = site.connect(Way::WebSocket, "crash").await;
            for index in 0..10_000 {
                let verb = if index % 2 == 0 { "subscribe" } else { "unsubscribe" };
                busy.say_only(&format!(r#"{{"{verb}":["double","type/slots"]}}"#)).await;
                if index == 100 {
                    site.publish("crash", &round("crash", 1));
                    assert_eq!(bystander.next_id().await, 1);
                    if is_limited {
                        break;
                    }
                }
            }
            if is_limited {
                // Behind the answers to those that were within the limit.
                let told = End::Told { code: Some(1008), words: "too many commands".to_owned() };
                assert_eq!(end_behind_answers(&mut busy).await, told);
                until("it is counted", || site.metric("lastmile_drops_total{reason=\"command_rate\"}") == 1)
                    .await;
            } else {
                let mut answers = 0;
                while answers < 10_000 {
                    busy.answer_or_end().await.expect("an answer");
                    answers += 1;
                }
                assert_eq!(busy.next_id().await, 1);
                site.publish("crash", &round("crash", 2));
                assert_eq!((busy.next_id().await, bystander.next_id().await), (2, 2));
                assert_eq!(site.metric("lastmile_commands_total"), 10_000);
            }
        });
    }
}

async fn end_behind_answers(subscriber: &mut Subscriber) -> End {
    loop {
        if let Err(end) = subscriber.answer_or_end().await {
            return end;
        }
    }
}

#[test]
fn a_token_may_be_the_first_thing_a_client_says() {
    const TOKEN: &str = "a-token-of-the-tests-0123456789";
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokens");
    std::fs::write(&path, TOKEN).expect("a file");
    let flags = ["--token-file", path.to_str().expect("text"), "--handshake-limit-s", "20"];
    every_way(&flags, async |site| {
        site.publish_heard("crash", &round("crash", 1)).await;
        let auth = |token: &str| format!(r#"{{"auth":"{token}"}}"#);
        for way in ways() {
            let mut subscriber = site.connect(way, "crash").await;
            assert_eq!(subscriber.say(&auth(TOKEN)).await, r#"{"authenticated":true}"#, "{way:?}");
            assert_eq!(subscriber.next_id().await, 1, "{way:?}");
            site.publish("crash", &round("crash", 2));
            assert_eq!(subscriber.next_id().await, 2, "{way:?}");
            assert_eq!(subscriber.say(r#"{"ping":1}"#).await, r#"{"pong":1}"#, "{way:?}");
            site.publish("crash", &round("crash", 1));
            assert_eq!(subscriber.next_id().await, 1, "{way:?}");
            for first in [auth("not-the-token"), r#"{"ping":1}"#.to_owned(), "hello".to_owned()] {
                let mut stranger = site.connect(way, "crash").await;
                stranger.say_only(&first).await;
                let (rounds, end) = stranger.drain().await;
                assert_eq!(rounds.len(), 0, "{way:?} {first}");
                let End::Told { code, words } = end else { panic!("{way:?} {first}: {end:?}") };
                let is_websocket = way == Way::WebSocket;
                assert!(code == Some(1008) || !is_websocket, "{way:?}: {code:?}");
                assert_eq!(words, "authentication required", "{way:?} {first}");
            }
        }
    });
    // Who says nothing is not waited for.
    let flags = ["--token-file", path.to_str().expect("text"), "--handshake-limit-s", "0.3"];
    every_way(&flags, async |site| {
        for way in ways() {
            let (rounds, _) = site.connect(way, "crash").await.drain().await;
            assert_eq!(rounds.len(), 0, "{way:?}");
        }
    });
}

#[test]
fn changing_over_and_over_while_rounds_are_published_neither_misses_nor_repeats() {
    const ROUNDS: u64 = 400;
    for form in Form::ALL {
        let site = Site::start(&[]);
        run(async {
            for slug in ["crash", "double"] {
                site.publish_heard(slug, &round(slug, 1)).await;
            }
            let mut redis = site.redis.connect().expect("a connection");
            let publisher = std::thread::spawn(move || {
                for id in 2..=ROUNDS {
                    for slug in ["crash", "double"] {
                        let channel = format!("stream:{slug}");
                        redis
                            .command(&[b"PUBLISH", channel.as_bytes(), &round(slug, id)])
                            .expect("a publish");
                    }
                    // The test holds for any pace; so that changes fall among the rounds.
                    std::thread::sleep(std::time::Duration::from_micros(700));
                }
            });
            let changes =
                ways().filter(|way| way.is_ordered()).map(|way| keep_changing(&site, way, form, ROUNDS));
            futures_util::future::join_all(changes).await;
            publisher.join().expect("a publisher");
        });
    }
}

/// What a subscriber has got that always has crash, and double now and then.
struct Seen {
    way: Way,
    form: Form,
    crash: Option<u64>,
    double: Option<u64>,
    /// Double has begun anew so many times, with a round that need not follow the one before.
    restarts: u32,
}

impl Seen {
    fn take(&mut self, received: &[u8]) {
        let id = id_of(self.form, received);
        let what = format!("{:?} {:?}: {id} after {:?}, {:?}", self.way, self.form, self.crash, self.double);
        if received == self.form.of(&round("crash", id)) {
            assert!(self.crash.is_none_or(|before| id == before + 1), "crash, {what}");
            self.crash = Some(id);
            return;
        }
        assert!(received == self.form.of(&round("double", id)), "{what}");
        let follows = self.double.is_some_and(|before| id == before + 1);
        if !follows {
            assert!(self.restarts > 0 && self.double.is_none_or(|before| id >= before), "double, {what}");
            self.restarts -= 1;
        }
        self.double = Some(id);
    }
}

async fn keep_changing(site: &Site, way: Way, form: Form, last: u64) {
    let mut subscriber = Subscriber::connect_in(&site.place, way, "crash", form).await;
    let mut seen = Seen { way, form, crash: None, double: None, restarts: 0 };
    let mut has_double = false;
    while seen.crash != Some(last) {
        for _ in 0..5 {
            if seen.crash != Some(last) {
                seen.take(&subscriber.next().await);
            }
        }
        let verb = if has_double { "unsubscribe" } else { "subscribe" };
        let answer = subscriber.say(&format!(r#"{{"{verb}":["double"]}}"#)).await;
        has_double = !has_double;
        assert_eq!(answer.contains("double"), has_double, "{answer}");
        // On a WebSocket what came before the answer is of before the change. A session's rounds have a stream of
        // their own and may come later.
        for _ in 0..subscriber.pending() {
            seen.take(&subscriber.next().await);
        }
        if has_double {
            seen.restarts = if way == Way::WebSocket { 1 } else { seen.restarts + 1 };
        }
    }
}

fn id_of(form: Form, round: &[u8]) -> u64 {
    match form.encoding {
        Encoding::Json => round_id(round),
        Encoding::MessagePack => msgpack::peek_round_id(round).expect("a round"),
    }
}
