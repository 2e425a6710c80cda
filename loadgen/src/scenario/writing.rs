//! What a result keeps of a scenario: the same keys as a file has, and nothing left open.

use serde_json::{Map, Value, json};

use super::values::{write_arrivals, write_duration, write_timestamps};
use super::{Matrix, Pace, Scenario};
use lastmile_wire::request::Topic;

impl Scenario {
    /// As a result keeps it. A password for Redis is left out: whoever repeats the run gives it again.
    pub fn to_json(&self) -> Value {
        let mut top = Map::new();
        let mut say = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                top.insert(key.to_owned(), value);
            }
        };
        let server = &self.server;
        say("title", self.title.clone().map(Value::from));
        say("seed", Some(self.seed.into()));
        say("threads", Some(self.threads.into()));
        say("cores", Some(self.cores.name().into()));
        say("connecting", Some(self.connecting.into()));
        say("timestamps", Some(write_timestamps(self.instruments.timestamps).into()));
        say("stages", self.instruments.stages.then_some(true.into()));
        say("slices", self.slices.map(Value::from));
        say("redis", server.redis.as_ref().map(|url| url.to_string().into()));
        say("target", (!server.target.is_empty()).then(|| json!(server.target)));
        say("ws-path", server.ws_path.clone().map(Value::from));
        say("sse-path", server.sse_path.clone().map(Value::from));
        say("publish-http", server.publish_http.as_ref().map(|url| url.to_string().into()));
        say("adapter", server.adapter.as_ref().map(|adapter| adapter.to_json()));
        say("capacity", self.capacity.to_json());
        say("matrix", Some(self.matrices.iter().map(matrix).collect()));
        Value::Object(top)
    }
}

fn matrix(matrix: &Matrix) -> Value {
    let protocols: Vec<String> = matrix.protocols.iter().map(ToString::to_string).collect();
    let mut value = json!({
        "protocols": protocols,
        "connections": matrix.connections,
        "payload": matrix.payloads,
        "duration": write_duration(matrix.duration),
        "warmup": write_duration(matrix.warmup),
    });
    match &matrix.pace {
        Pace::Open { rates, arrivals } => {
            value["rate"] = json!(rates);
            value["arrivals"] = write_arrivals(*arrivals).into();
        }
        Pace::Closed(messages) => value["in-flight"] = json!(messages),
    }
    match &matrix.topic {
        // Spread over games, a topic says nothing.
        _ if matrix.games != [1] => value["games"] = json!(matrix.games),
        Topic::Game(slug) => value["game"] = json!(slug),
        Topic::Type(game_type) => value["type"] = json!(game_type),
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            "",
            "timestamps = 'kernel'\nstages = true\ncores = 'shared'",
            "in-flight = [1, 8]\ntype = 'color'\nredis = 'redis://:secret@h:1'",
            "rate = [0.1, 3]\narrivals = 'poisson'\ngames = [1, 5]\nseed = 9223372036854775807\ntitle = '\"ä\\'",
            "tls = [true, false]\nbatch-ms = [0, 100]\nencoding = ['msgpack']\nwarmup = '0s'\n[[matrix]]\n[[matrix]]\npayload = [200, 300]",
            "target = ['http://h:1', 'https://h:2']\npublish-http = 'http://h:1/x'\nws-path = '/x'\nsse-path = '/y'",
        ] {
            let scenario = Scenario::parse("s.toml", text).unwrap();
            let json = scenario.to_json();
            assert!(!json.to_string().contains("secret"), "{json}");
            let again = Scenario::parse("s.toml", &toml::to_string(&json).unwrap()).unwrap();
            assert_eq!(again.to_json(), json);
            assert_eq!(again.matrices, scenario.matrices, "{text}");
            assert_eq!((again.seed, again.title), (scenario.seed, scenario.title));
            assert_eq!(again.instruments, scenario.instruments);
            assert_eq!(again.cores, scenario.cores);
        }
    }
}
