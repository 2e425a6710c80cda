//! The guard: origin, tokens and limits, in one place before any protocol's handshake. Nothing here is on a round's
//! way; what a connection keeps of it is a [`Permit`].

mod address;
mod answers;
mod exposure;
mod flags;
mod origin;
mod table;
mod token;

pub use address::{ClientKey, TrustedProxies, parse_hop};
pub use answers::{ACCESS_LOG, Client, Peer, RequestId, guarded, refuse};
pub use exposure::{open_descriptors, open_points};
pub use flags::{GuardFlags, LimitMode, Limits};
pub use ipnet::IpNet;
pub use origin::{AllowedOrigin, Asked, Origin, OriginError, OriginPolicy};
pub use table::{AddressTable, Quota, Turned};
pub use token::{MAX_TOKEN_CHARACTERS, TokenError, TokenProblem, Tokens, bearer, parse_tokens, query_token};

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::metrics::Metrics;
use crate::seldom::Seldom;

/// Why somebody is not let in, or not any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Its page is of an origin that is not allowed.
    Origin,
    /// It brings no token, or one that is none of ours.
    Token,
    /// New connections come too fast from its address.
    ConnectRate,
    /// Too many connections from its address.
    ConnectionsOfAddress,
    /// Too many connections in all, or no descriptor is left.
    Connections,
    /// Too many REST requests from its address.
    RestRate,
    /// Too many commands on its connection.
    CommandRate,
}

impl Refused {
    /// How many there are.
    pub const COUNT: usize = 7;

    /// All of them; the position is that in the enumeration.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Origin,
        Self::Token,
        Self::ConnectRate,
        Self::ConnectionsOfAddress,
        Self::Connections,
        Self::RestRate,
        Self::CommandRate,
    ];

    /// The `reason` label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Token => "token",
            Self::ConnectRate => "connect_rate",
            Self::ConnectionsOfAddress => "connections_of_address",
            Self::Connections => "connections",
            Self::RestRate => "rest_rate",
            Self::CommandRate => "command_rate",
        }
    }
}

/// What a client may do once its handshake is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Receive.
    Granted,
    /// Only say who it is: its first message must be `{"auth":"TOKEN"}` with one that [`Guard::check_token`] knows.
    AwaitsToken,
}

/// What a request brings along.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    /// The page it comes from, and where it went.
    pub asked: Asked<'a>,
    /// Its `Authorization` header.
    pub authorization: Option<&'a [u8]>,
    /// Path and query.
    pub target: &'a str,
}

/// How a connection comes: only TCP takes a file descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// QUIC.
    Quic,
    /// Not at all: an event stream on a connection that carries several.
    Shared,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Guard {
    origins: OriginPolicy,
    tokens: Option<Tokens>,
    proxies: TrustedProxies,
    limits: Limits,
    /// TCP connections the file descriptors suffice for.
    max_tcp: u32,
    table: AddressTable,
    open: AtomicU32,
    open_tcp: AtomicU32,
    metrics: Arc<Metrics>,
    warning: Seldom,
}

impl Guard {
    /// A guard as the flags say, for a server of which `max_tcp` TCP connections can be open.
    ///
    /// # Errors
    /// [`TokenError`] where the file of tokens can't be used.
    pub fn new(
        flags: &GuardFlags,
        beyond_loopback: bool,
        max_tcp: u32,
        metrics: Arc<Metrics>,
    ) -> Result<Self, TokenError> {
        Ok(Self {
            origins: OriginPolicy::new(&flags.allow_origin, beyond_loopback),
            tokens: flags.token_file.as_deref().map(Tokens::from_file).transpose()?,
            proxies: TrustedProxies::new(&flags.trusted_proxy),
            limits: flags.limits(beyond_loopback),
            max_tcp,
            table: AddressTable::default(),
            open: AtomicU32::new(0),
            open_tcp: AtomicU32::new(0),
            metrics,
            warning: Seldom::default(),
        })
    }

    /// A guard that lets everybody in, for parts of a server that are tried alone.
    pub fn open(metrics: Arc<Metrics>) -> Self {
        let limits = Limits {
            connects_per_second: None,
            connections_per_address: None,
            connections: None,
            rest_per_minute: None,
            commands_per_second: None,
            handshake: Duration::from_secs(10),
        };
        Self {
            origins: OriginPolicy::new(&[AllowedOrigin::Any], false),
            tokens: None,
            proxies: TrustedProxies::default(),
            limits,
            max_tcp: u32::MAX,
            table: AddressTable::default(),
            open: AtomicU32::new(0),
            open_tcp: AtomicU32::new(0),
            metrics,
            warning: Seldom::default(),
        }
    }

    /// The limits that hold.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// TCP connections the file descriptors suffice for.
    pub fn max_tcp_connections(&self) -> u32 {
        self.max_tcp
    }

    /// The pages that may use the server.
    pub fn origins(&self) -> &OriginPolicy {
        &self.origins
    }

    /// Proxies that are believed.
    pub fn proxies(&self) -> &TrustedProxies {
        &self.proxies
    }

    /// The tokens that open the server; without any it is open.
    pub fn tokens(&self) -> Option<&Tokens> {
        self.tokens.as_ref()
    }

    /// Whether this token opens the server, in constant time. Without tokens every one does.
    pub fn check_token(&self, token: &[u8]) -> bool {
        self.tokens.as_ref().is_none_or(|tokens| tokens.check(token))
    }

    /// The address that a connection from `peer` is limited by.
    pub fn client<'a>(
        &self,
        peer: IpAddr,
        forwarded_for: impl DoubleEndedIterator<Item = &'a [u8]>,
    ) -> IpAddr {
        self.proxies.client(peer, forwarded_for)
    }

    /// Whether a request may have what it asks for. A page of an origin that is not allowed gets nothing, whatever
    /// it knows; a wrong token is worth less than none.
    ///
    /// # Errors
    /// Why not; it has been counted.
    pub fn admit(&self, credentials: &Credentials<'_>) -> Result<Access, Refused> {
        if !self.origins.allows(credentials.asked) {
            return Err(self.refuse(Refused::Origin));
        }
        let Some(tokens) = &self.tokens else { return Ok(Access::Granted) };
        let in_query;
        let token = match credentials.authorization.and_then(bearer) {
            Some(token) => Some(token),
            None => {
                in_query = query_token(credentials.target);
                in_query.as_deref()
            }
        };
        match token {
            None => Ok(Access::AwaitsToken),
            Some(token) if tokens.check(token) => Ok(Access::Granted),
            Some(_) => Err(self.refuse(Refused::Token)),
        }
    }

    /// Takes a connection into account that has come from `address`, which is not known yet where a trusted proxy
    /// stands in between.
    ///
    /// # Errors
    /// Why it is not to be taken; it has been counted.
    pub fn connect(self: &Arc<Self>, transport: Transport, peer: IpAddr) -> Result<Permit, Refused> {
        // Taken first, so that two that come at once are not both the last one.
        let mut permit = Permit { guard: Arc::clone(self), transport, key: None };
        let open = self.open.fetch_add(1, Relaxed);
        let open_tcp = match transport {
            Transport::Tcp => self.open_tcp.fetch_add(1, Relaxed),
            Transport::Quic | Transport::Shared => 0,
        };
        if open_tcp >= self.max_tcp || self.limits.connections.is_some_and(|most| open >= most.get()) {
            if self.warning.is_due() {
                let (open, tcp, max_tcp) = (open, open_tcp, self.max_tcp);
                warn!(
                    open,
                    tcp, max_tcp, "the server is full; raise the limit of file descriptors or --connections"
                );
            }
            return Err(self.refuse(Refused::Connections));
        }
        if !self.proxies.contains(peer) {
            permit.count_for(peer)?;
        }
        Ok(permit)
    }

    /// Whether there is room for another connection, without taking one into account.
    pub fn has_room(&self) -> bool {
        self.limits.connections.is_none_or(|most| self.open.load(Relaxed) < most.get())
    }

    /// Takes a REST request into account; `None` without a limit.
    pub fn request(&self, client: IpAddr) -> Option<Quota> {
        let quota = self.table.request(client.into(), Instant::now(), self.limits.rest_per_minute?);
        if !quota.is_allowed {
            self.refuse(Refused::RestRate);
        }
        Some(quota)
    }

    /// Counts somebody who is not let in, and gives the reason back.
    pub fn refuse(&self, reason: Refused) -> Refused {
        self.metrics.refused.add(reason);
        reason
    }

    /// What a scrape gets of the guard.
    pub fn render(&self) -> String {
        format!(
            "# HELP lastmile_open_connections Connections open now, those in the middle of their handshake among them.\n\
             # TYPE lastmile_open_connections gauge\n\
             lastmile_open_connections {}\n\
             # HELP lastmile_open_connections_limit Connections over TCP that file descriptors or flags allow.\n\
             # TYPE lastmile_open_connections_limit gauge\n\
             lastmile_open_connections_limit {}\n\
             # HELP lastmile_known_addresses Client addresses whose limits are remembered now.\n\
             # TYPE lastmile_known_addresses gauge\n\
             lastmile_known_addresses {}\n",
            self.open_connections(),
            self.limits.connections.map_or(self.max_tcp, |most| most.get().min(self.max_tcp)),
            self.table.len(),
        )
    }

    /// Connections open now, those in the middle of their handshake among them.
    pub fn open_connections(&self) -> u32 {
        self.open.load(Relaxed)
    }
}

/// A connection's place among those the guard counts. Dropping it gives the place back.
#[derive(Debug)]
pub struct Permit {
    guard: Arc<Guard>,
    transport: Transport,
    key: Option<ClientKey>,
}

impl Permit {
    /// Counts the connection for the client's own address, once that is known.
    ///
    /// # Errors
    /// Why it is not to be taken; it has been counted.
    pub fn count_for(&mut self, client: IpAddr) -> Result<(), Refused> {
        let Limits { connects_per_second, connections_per_address, .. } = self.guard.limits;
        if self.key.is_some() || (connects_per_second.is_none() && connections_per_address.is_none()) {
            return Ok(());
        }
        let counted = self.guard.table.connect(
            client.into(),
            Instant::now(),
            connects_per_second,
            connections_per_address,
        );
        match counted {
            Ok(key) => {
                self.key = Some(key);
                Ok(())
            }
            Err(Turned::TooFast) => Err(self.guard.refuse(Refused::ConnectRate)),
            Err(Turned::TooMany) => Err(self.guard.refuse(Refused::ConnectionsOfAddress)),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.guard.open.fetch_sub(1, Relaxed);
        if self.transport == Transport::Tcp {
            self.guard.open_tcp.fetch_sub(1, Relaxed);
        }
        if let Some(key) = self.key {
            self.guard.table.disconnect(key);
        }
    }
}

/// What is left of a connection's commands in the current second. Kept by the connection.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CommandBudget {
    second: u32,
    used: u32,
}

impl CommandBudget {
    /// Takes a command into account that came in this second of whatever clock; whether it is within the limit.
    pub fn take(&mut self, second: u32, per_second: Option<NonZeroU32>) -> bool {
        let Some(per_second) = per_second else { return true };
        if self.second != second {
            *self = Self { second, used: 0 };
        }
        self.used = self.used.saturating_add(1);
        self.used <= per_second.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn guard(flags: &[&str], max_tcp: u32) -> Arc<Guard> {
        let config = Config::from_flags(flags.iter().copied()).unwrap();
        Arc::new(Guard::new(&config.guard, true, max_tcp, Arc::new(Metrics::new(1))).unwrap())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn permits_are_given_back_and_proxies_counted_by_their_clients() {
        let guard = guard(&["--connections-per-address", "2", "--trusted-proxy", "10.0.0.1/32"], 6);
        let (client, proxy) = (address("192.0.2.1"), address("10.0.0.1"));
        let first = guard.connect(Transport::Tcp, client).unwrap();
        let mut second = guard.connect(Transport::Tcp, proxy).unwrap();
        second.count_for(client).unwrap();
        second.count_for(client).expect("once is enough");
        assert_eq!(guard.connect(Transport::Tcp, client).unwrap_err(), Refused::ConnectionsOfAddress);
        let mut third = guard.connect(Transport::Tcp, proxy).unwrap();
        assert_eq!(third.count_for(client), Err(Refused::ConnectionsOfAddress));
        drop(third);
        drop(first);
        assert_eq!(guard.open_connections(), 1);
        guard.connect(Transport::Tcp, client).expect("a place was given back");
        drop(second);
        assert_eq!(guard.open_connections(), 0);
    }

    #[test]
    fn descriptors_count_for_tcp_only_and_the_limit_in_all_for_everybody() {
        let guard = guard(&["--connections", "3"], 2);
        let connect = |transport| guard.connect(transport, address("192.0.2.1"));
        let _tcp = [connect(Transport::Tcp).unwrap(), connect(Transport::Tcp).unwrap()];
        assert_eq!(connect(Transport::Tcp).unwrap_err(), Refused::Connections);
        let _quic = connect(Transport::Quic).unwrap();
        assert_eq!(connect(Transport::Quic).unwrap_err(), Refused::Connections);
        assert_eq!(guard.open_connections(), 3);
        assert!(!guard.has_room());
    }

    #[test]
    fn who_brings_a_wrong_token_is_refused_and_who_brings_none_may_still_say_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        std::fs::write(&path, "a-token-of-twenty-ch\n").unwrap();
        let guard = guard(&["--token-file", path.to_str().unwrap()], 9);
        let admit = |authorization: Option<&'static [u8]>, target: &'static str| {
            let asked = Asked { origin: None, host: None, any_port: false };
            guard.admit(&Credentials { asked, authorization, target })
        };
        assert_eq!(admit(None, "/ws/crash"), Ok(Access::AwaitsToken));
        assert_eq!(admit(None, "/ws/crash?token=a-token-of-twenty-ch"), Ok(Access::Granted));
        assert_eq!(admit(None, "/ws/crash?token="), Err(Refused::Token));
        assert_eq!(admit(Some(b"Bearer a-token-of-twenty-ch"), "/ws/crash"), Ok(Access::Granted));
        assert_eq!(admit(Some(b"Bearer a-token-of-twenty-cx"), "/ws/crash"), Err(Refused::Token));
        assert_eq!(admit(Some(b"Basic eDp5"), "/ws/crash"), Ok(Access::AwaitsToken));
        assert_eq!(guard.metrics.refused.get(Refused::Token), 2);
    }

    #[test]
    fn commands_are_counted_by_the_second() {
        let mut budget = CommandBudget::default();
        let limit = NonZeroU32::new(2);
        let taken: Vec<bool> = [5, 5, 5, 6].map(|second| budget.take(second, limit)).into();
        assert_eq!(taken, [true, true, false, true]);
        assert!((0..100).all(|_| budget.take(6, None)));
    }
}
