//! What keeps the program from starting is told in a sentence that names the flag, with exit code 2.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;

use lastmile_processes::PrivateRedis;

use crate::common::{PATIENCE, Program};

/// Flags under which a server starts, but for what a test changes.
struct Flags(Vec<(&'static str, String)>);

impl Flags {
    fn new(redis: &PrivateRedis) -> Self {
        Self(vec![
            ("--listen", "127.0.0.1:0".into()),
            ("--wt-listen", "127.0.0.1:0".into()),
            ("--redis", redis.url()),
            ("--database", "sqlite::memory:".into()),
            ("--startup-limit-s", "0.3".into()),
        ])
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.retain(|(other, _)| *other != name);
        self.0.push((name, value.into()));
        self
    }

    /// Starts the program, which must refuse and say all of these words.
    fn refused(self, words: &[&str]) {
        let all: Vec<&str> = self.0.iter().flat_map(|(name, value)| [*name, value.as_str()]).collect();
        refused(&all, words);
    }
}

fn refused(flags: &[&str], words: &[&str]) {
    let child = Program::launch(flags);
    let ended = child.wait(PATIENCE).expect("a status");
    let status = ended.unwrap_or_else(|| panic!("{flags:?}: still running\n{}", child.log_tail()));
    let said = child.check_running().expect_err("it has ended").to_string();
    assert_eq!(status.code(), Some(2), "{flags:?}\n{said}");
    for word in words {
        assert!(said.contains(word), "{flags:?}: {word:?} is not in\n{said}");
    }
    assert!(!said.contains("panicked") && !said.contains("\"ready\""), "{flags:?}\n{said}");
}

#[test]
fn without_redis() {
    let redis = PrivateRedis::start().expect("a Redis");
    let missing = redis.folder().join("missing.sock");
    let missing = format!("redis+unix://{}", missing.display());
    Flags::new(&redis).with("--redis", &missing).refused(&["--redis", &missing]);
    let refusing = unused_tcp();
    Flags::new(&redis).with("--redis", format!("redis://{refusing}")).refused(&["--redis", &refusing]);
    // Someone listens there, but never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    Flags::new(&redis).with("--redis", format!("redis://{address}")).refused(&["--redis", "no answer"]);
    Flags::new(&redis).with("--redis", "http://127.0.0.1:1").refused(&["--redis"]);
    Flags::new(&redis)
        .with("--redis", format!("redis://user:secret@{refusing}"))
        .refused(&["--redis", "***"]);
}

#[test]
fn without_database() {
    let redis = PrivateRedis::start().expect("a Redis");
    let refusing = unused_tcp();
    Flags::new(&redis).with("--database", format!("postgres://{refusing}/x")).refused(&["--database"]);
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    Flags::new(&redis).with("--database", format!("postgres://{address}/x")).refused(&["--database"]);
    Flags::new(&redis).with("--database", "mysql://127.0.0.1/x").refused(&["--database"]);
    let not_a_database = redis.folder().join("text");
    std::fs::write(&not_a_database, "no database, but a text that is long enough to be one").expect("a file");
    Flags::new(&redis)
        .with("--database", format!("sqlite://{}", not_a_database.display()))
        .refused(&["--database"]);
}

#[test]
fn with_a_port_that_is_taken() {
    let redis = PrivateRedis::start().expect("a Redis");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = tcp.local_addr().expect("an address").to_string();
    Flags::new(&redis).with("--listen", &address).refused(&["--listen", &address, "in use"]);
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = udp.local_addr().expect("an address").to_string();
    Flags::new(&redis).with("--wt-listen", &address).refused(&["--wt-listen", &address, "in use"]);
    // Also when a server of the same user has it, who shares it among its own threads.
    let program = Program::start(&redis, &[]);
    let address = program.place.http.to_string();
    Flags::new(&redis).with("--listen", &address).refused(&["--listen", &address, "in use"]);
    let address = program.place.webtransport.to_string();
    Flags::new(&redis).with("--wt-listen", &address).refused(&["--wt-listen", &address, "in use"]);
    // An address this machine does not have.
    Flags::new(&redis).with("--listen", "192.0.2.1:0").refused(&["--listen", "192.0.2.1"]);
}

#[test]
fn with_flags_that_can_not_be() {
    let redis = PrivateRedis::start().expect("a Redis");
    refused(&["--nonsense"], &["--nonsense"]);
    for (name, value) in [
        ("--listen", "nowhere"),
        ("--wt-listen", "127.0.0.1:99999"),
        ("--tls", "perhaps"),
        ("--shards", "0"),
        ("--backlog-bytes", "much"),
        ("--heartbeat-s", "0"),
        ("--idle-limit-s", "never"),
        ("--startup-limit-s", "soon"),
        ("--log", "lastmile_server=loud"),
    ] {
        Flags::new(&redis).with(name, value).refused(&[name]);
    }
}

#[test]
fn with_a_certificate_that_is_none() {
    let redis = PrivateRedis::start().expect("a Redis");
    let write = |name: &str, content: &str| {
        let path = redis.folder().join(name);
        std::fs::write(&path, content).expect("a file");
        path.to_str().expect("text").to_owned()
    };
    let pair = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (mine, other) = (pair(), pair());
    let certificate = write("certificate.pem", &mine.cert.pem());
    let key = write("key.pem", &mine.signing_key.serialize_pem());
    let other_key = write("other.pem", &other.signing_key.serialize_pem());
    let empty = write("empty.pem", "");
    let missing = Path::new(&key).with_file_name("missing.pem").display().to_string();

    let with = |certificate: &str, key: &str| {
        Flags::new(&redis).with("--tls-cert", certificate).with("--tls-key", key)
    };
    with(&missing, &key).refused(&["--tls-cert", &missing]);
    with(&certificate, &missing).refused(&["--tls-key", &missing]);
    with(&empty, &key).refused(&["--tls-cert", &empty]);
    with(&certificate, &empty).refused(&["--tls-key", &empty]);
    with(&certificate, &other_key).refused(&["--tls-cert", "--tls-key"]);
    Flags::new(&redis).with("--tls-cert", &certificate).refused(&["--tls-key"]);
    Flags::new(&redis).with("--tls-key", &key).refused(&["--tls-cert"]);
    with(&certificate, &key).with("--tls", "self-signed").refused(&["--tls"]);
    // These two belong together: what has failed above was not the way of asking.
    let program = Program::start(&redis, &["--tls-cert", &certificate, "--tls-key", &key]);
    assert!(program.place.tls);
}

/// An address nobody listens on, as far as one can know.
fn unused_tcp() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}
