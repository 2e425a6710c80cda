//! What a run was told of the server under test.

// The doc comments of the flags are their help text, where Markdown would be read as it is written.
#![allow(clippy::doc_markdown)]

use std::fs;
use std::path::Path;

use clap::Args;

use super::values::parse_path;
use super::{Problem, ScenarioError};
use crate::adapter::{Adapter, Publish};
use crate::feed::HttpUrl;
use crate::redis::RedisUrl;
use crate::variant::{Carrier, Tls, Variant};

/// What is under test, where it is not a server of ours with a Redis of its own.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct ServerSettings {
    /// Your Redis instead of a private one: redis://HOST:PORT or redis+unix:///path/to/redis.sock
    #[arg(long, value_name = "URL", group = "feed", value_parser = |text: &str| text.parse::<RedisUrl>())]
    pub redis: Option<RedisUrl>,

    /// A running server instead of one of ours: http://HOST:PORT for ws and sse, https://HOST:PORT for wss, sse-tls and
    /// wt-*, tcp://HOST:PORT for tcp; give several for all. Needs --redis, the Redis that server reads from (or
    /// --publish-http). Or a description of a server that is not of the contract: scenarios/targets/ws.toml
    #[arg(long, value_name = "URL|FILE")]
    pub target: Vec<String>,

    /// Path of the target's WebSocket [default: /ws/ and the game, or /ws/type/ and the type]
    #[arg(long, value_name = "PATH", value_parser = parse_path)]
    pub ws_path: Option<String>,

    /// Path of the target's event stream [default: /sse/ and the game, or /sse/type/ and the type]
    #[arg(long, value_name = "PATH", value_parser = parse_path)]
    pub sse_path: Option<String>,

    /// Publish to the target itself, each message as the body of a POST, instead of to a Redis
    #[arg(long, value_name = "URL", group = "feed", value_parser = |text: &str| text.parse::<HttpUrl>())]
    pub publish_http: Option<HttpUrl>,

    /// The target's process on this machine, whose processor time and memory are to be observed
    #[arg(long, value_name = "PID")]
    pub target_pid: Option<u32>,

    /// The description that a target names, once it has been read.
    #[arg(skip)]
    pub adapter: Option<Box<Adapter>>,
}

impl ServerSettings {
    /// What is measured where nobody said what: everything, or what the targets named may serve by their form. Behind
    /// https:// may be HTTPS, WebTransport or both, which shows when they are asked.
    pub fn default_protocols(&self) -> Vec<Variant> {
        if self.target.is_empty() {
            return Variant::DEFAULT.to_vec();
        }
        let has = |scheme: &str| self.target.iter().any(|url| url.starts_with(scheme));
        let serves = |variant: &Variant| match variant.carrier() {
            Carrier::WebSocket(Tls::Off) | Carrier::Sse(Tls::Off, _) => has("http://"),
            Carrier::WebSocket(Tls::On) | Carrier::Sse(Tls::On, _) | Carrier::WebTransport(_) => {
                has("https://")
            }
            Carrier::Tcp => has("tcp://"),
            Carrier::Redis => self.redis.is_some(),
        };
        Variant::DEFAULT.into_iter().filter(serves).collect()
    }

    /// These settings, and those `below` where these say nothing. A place to publish to takes that of another.
    #[must_use]
    pub fn over(self, below: &Self) -> Self {
        let below = below.clone();
        let (redis, publish_http) = if self.redis.is_some() || self.publish_http.is_some() {
            (self.redis, self.publish_http)
        } else {
            (below.redis, below.publish_http)
        };
        Self {
            redis,
            target: if self.target.is_empty() { below.target } else { self.target },
            ws_path: self.ws_path.or(below.ws_path),
            sse_path: self.sse_path.or(below.sse_path),
            publish_http,
            target_pid: self.target_pid.or(below.target_pid),
            adapter: self.adapter.or(below.adapter),
        }
    }

    /// Reads the description that one of the targets names: a `.toml` file, looked for in `folder`.
    ///
    /// # Errors
    /// [`ScenarioError`] where it can't be read or has a mistake.
    pub fn read_adapter(mut self, folder: &Path) -> Result<Self, ScenarioError> {
        let is_description = |target: &String| {
            !target.contains("://")
                && Path::new(target).extension().is_some_and(|extension| extension == "toml")
        };
        let Some(place) = self.target.iter().position(is_description) else { return Ok(self) };
        let path = folder.join(self.target.remove(place));
        if let Some(other) = self.target.iter().find(|target| is_description(target)) {
            let text =
                format!("{} and {other}: only one description of a target can be used", path.display());
            return Err(Problem { key: "target", text }.into());
        }
        let text = fs::read_to_string(&path);
        let text = text.map_err(|source| ScenarioError::Description { path: path.clone(), source })?;
        // What it names stays beside it, wherever a repetition is started from.
        let beside = path.parent().map(|parent| parent.canonicalize().unwrap_or_else(|_| parent.to_owned()));
        let adapter = Adapter::parse(&path.display().to_string(), &beside.unwrap_or_default(), &text)?;
        self.adapter = Some(Box::new(adapter));
        Ok(self)
    }

    /// The same, where it goes together.
    ///
    /// # Errors
    /// [`Problem`] where it does not.
    pub fn checked(self) -> Result<Self, Problem> {
        let problem = |key, text: &str| Err(Problem { key, text: text.to_owned() });
        if let Some(adapter) = &self.adapter {
            return match (&adapter.start, self.target.is_empty()) {
                (Some(_), false) => problem(
                    "target",
                    "the description says how the server is started; leave its address away",
                ),
                (None, true) => problem(
                    "target",
                    "the description does not say how the server is started; say with --target http://HOST:PORT where it runs",
                ),
                _ if self.publish_http.is_some() || self.ws_path.is_some() || self.sse_path.is_some() => {
                    problem("target", "the description says paths and how to publish; leave those flags away")
                }
                (None, false) if self.redis.is_none() && matches!(adapter.publish, Publish::Redis(_)) => {
                    problem("target", "say with --redis which Redis the target reads from")
                }
                _ => Ok(self),
            };
        }
        if !self.target.is_empty() {
            return match (&self.redis, &self.publish_http) {
                (None, None) => problem(
                    "target",
                    "a target needs to be told where it gets its messages: with --redis, the Redis it reads from, \
                     or with --publish-http",
                ),
                (Some(_), Some(_)) => problem("redis", "give --redis or --publish-http, not both"),
                _ => Ok(self),
            };
        }
        let strays = [
            ("ws-path", self.ws_path.is_some()),
            ("sse-path", self.sse_path.is_some()),
            ("publish-http", self.publish_http.is_some()),
            ("target-pid", self.target_pid.is_some()),
        ];
        match strays.into_iter().find(|(_, is_given)| *is_given) {
            Some((key, _)) => {
                problem(key, &format!("--{key} says something of a target; name one with --target"))
            }
            None => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default_protocols(targets: &[&str]) -> String {
        let target = targets.iter().map(|&target| target.to_owned()).collect();
        let settings = ServerSettings { target, ..ServerSettings::default() };
        let names: Vec<String> = settings.default_protocols().iter().map(ToString::to_string).collect();
        names.join(" ")
    }

    #[test]
    fn what_is_measured_of_a_target_is_what_its_form_serves() {
        assert_eq!(default_protocols(&["http://h:1"]), "ws sse");
        assert_eq!(default_protocols(&["https://h:1"]), "wss sse-tls wt-stream wt-streams wt-datagram");
        assert_eq!(
            default_protocols(&["tcp://h:2", "https://h:1", "http://h:3"]),
            "ws sse wss sse-tls wt-stream wt-streams wt-datagram tcp"
        );
        let all: Vec<String> = Variant::DEFAULT.iter().map(ToString::to_string).collect();
        assert_eq!(default_protocols(&[]), all.join(" "));
    }
}
