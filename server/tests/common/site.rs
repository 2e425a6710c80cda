//! A server in this process, with a Redis of its own.

use lastmile_processes::PrivateRedis;
use lastmile_server::{Config, Handle, Server};
use lastmile_wire::channel::stream_channel;

use super::{Place, Subscriber, Way, run};

/// See the module's documentation.
pub struct Site {
    // Declared first: the server ends before its Redis.
    pub server: Handle,
    pub redis: PrivateRedis,
    pub place: Place,
}

impl Site {
    /// A server with these flags beyond those every test needs. Not to be called on a runtime.
    pub fn start(flags: &[&str]) -> Self {
        Self::start_with(PrivateRedis::start().expect("a Redis"), flags)
    }

    /// The same on a Redis that has been prepared.
    pub fn start_with(redis: PrivateRedis, flags: &[&str]) -> Self {
        let url = redis.url();
        let mut all = vec!["--listen", "127.0.0.1:0", "--wt-listen", "127.0.0.1:0", "--redis", url.as_str()];
        if !flags.contains(&"--database") {
            all.extend(["--database", "sqlite::memory:"]);
        }
        if !flags.contains(&"--shards") {
            // More than one, on whatever machine: what crosses threads shall do so.
            all.extend(["--shards", "2"]);
        }
        all.extend(flags);
        let config = Config::from_flags(all).expect("valid flags");
        let server = Server::start(&config).expect("a server");
        let place = Place::of_ready_line(&server.ready_line());
        Self { server, redis, place }
    }

    /// Publishes, and sees that it reaches the server's one subscription.
    pub fn publish(&self, slug: &str, payload: &[u8]) {
        let receivers = self.redis.publish(&stream_channel(slug), payload).expect("a publish");
        assert_eq!(receivers, 1, "subscriptions of {slug}");
    }

    /// The same, and waits until the server has the round: who connects then begins with it.
    pub async fn publish_heard(&self, slug: &str, payload: &[u8]) {
        let heard = self.server.metrics().ingest.rounds.get();
        self.publish(slug, payload);
        super::until("the server has the round", || self.server.metrics().ingest.rounds.get() > heard).await;
    }

    /// A subscriber that is attached.
    pub async fn connect(&self, way: Way, topic: &str) -> Subscriber {
        Subscriber::connect(&self.place, way, topic).await
    }

    /// A subscriber of each way.
    pub async fn connect_all(&self, topic: &str) -> Vec<Subscriber> {
        let mut subscribers = Vec::new();
        for way in Way::ALL {
            subscribers.push(self.connect(way, topic).await);
        }
        subscribers
    }

    /// A value of the metrics: that of the line which begins with `name`, labels included.
    pub fn metric(&self, name: &str) -> u64 {
        metric(&self.server.metrics().render(), name)
    }
}

/// The value of one line of metrics.
pub fn metric(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

/// Runs a test body against a plain server and against one that speaks TLS.
pub fn every_way(flags: &[&str], mut body: impl AsyncFnMut(&Site)) {
    for tls in [&[][..], &["--tls", "self-signed"]] {
        let site = Site::start(&[flags, tls].concat());
        run(body(&site));
    }
}
