//! Private servers start, answer, stop, come back and leave nothing.

use std::path::Path;

use lastmile_processes::{PrivatePostgres, PrivateRedis, RedisOptions, Reply};

#[test]
fn redis_answers_and_leaves_nothing() {
    let redis = PrivateRedis::start().expect("a Redis");
    assert_eq!(redis.url(), format!("redis+unix://{}", redis.socket_path().display()));
    let reply = redis.command(&[b"SET", b"latest:crash", b"a \r\n value"]).expect("SET");
    assert_eq!(reply, Reply::Status("OK".into()));
    let reply = redis.command(&[b"GET", b"latest:crash"]).expect("GET");
    assert_eq!(reply.bytes(), Some(&b"a \r\n value"[..]));
    let error = redis.command(&[b"NONSENSE"]).expect_err("no such command");
    assert!(error.to_string().contains("unknown command"), "{error}");

    let (pid, folder) = (redis.process().expect("it runs").pid(), redis.folder().to_owned());
    drop(redis);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(!folder.exists());
}

#[test]
fn redis_hands_messages_to_subscribers() {
    let redis = PrivateRedis::start().expect("a Redis");
    assert_eq!(redis.publish("stream:crash", b"nobody hears it").expect("PUBLISH"), 0);
    let mut subscriber = redis.connect().expect("a connection");
    subscriber.command(&[b"SUBSCRIBE", b"stream:crash"]).expect("SUBSCRIBE");
    assert_eq!(redis.subscriber_count("stream:crash").expect("PUBSUB NUMSUB"), 1);
    assert_eq!(redis.publish("stream:crash", b"a round").expect("PUBLISH"), 1);
    let message = subscriber.read_reply().expect("a message");
    let words: Vec<_> = message.elements().expect("an array").iter().filter_map(Reply::bytes).collect();
    assert_eq!(words, [&b"message"[..], b"stream:crash", b"a round"]);
}

#[test]
fn redis_comes_back_at_the_same_address() {
    let options = RedisOptions { tcp: true, ..RedisOptions::default() };
    let mut redis = PrivateRedis::start_with(options).expect("a Redis");
    let address = (redis.url(), redis.tcp_url().expect("it was asked for"));
    let port: u16 = address.1.rsplit_once(':').expect("a port").1.parse().expect("a number");
    std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");

    redis.stop().expect("it stops");
    assert!(redis.process().is_none());
    assert!(redis.command(&[b"PING"]).is_err(), "nobody answers");
    redis.restart().expect("it comes back");
    assert_eq!((redis.url(), redis.tcp_url().expect("still")), address);
    redis.command(&[b"PING"]).expect("it answers");

    redis.process().expect("it runs").kill().expect("a crash");
    redis.restart().expect("it comes back after a crash, too");
    redis.command(&[b"PING"]).expect("it answers");
}

#[test]
fn redis_refusing_its_arguments_says_why() {
    let options =
        RedisOptions { arguments: vec!["--no-such-option".into(), "1".into()], ..Default::default() };
    let error = PrivateRedis::start_with(options).expect_err("it can't start");
    assert!(error.to_string().contains("no-such-option"), "{error}");
}

#[test]
fn postgres_accepts_comes_back_and_leaves_nothing() {
    let mut postgres = PrivatePostgres::start().expect("a PostgreSQL");
    assert!(postgres.url().starts_with("postgres://lastmile@localhost/postgres?host=/"));
    let socket = postgres.folder().join(".s.PGSQL.5432");
    std::os::unix::net::UnixStream::connect(&socket).expect("it listens");

    postgres.stop().expect("it stops");
    std::os::unix::net::UnixStream::connect(&socket).expect_err("nobody listens");
    postgres.restart().expect("it comes back");
    std::os::unix::net::UnixStream::connect(&socket).expect("it listens");

    let (pid, folder) = (postgres.process().expect("it runs").pid(), postgres.folder().to_owned());
    drop(postgres);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(!folder.exists());
}
