//! The guard in front of everything that is asked for and answered over HTTP: REST, pages, metrics, and event streams
//! that share a connection. Adds the headers that all answers have.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::debug;

use super::{Access, Asked, Credentials, Guard, Quota, Refused};
use crate::connect::Refusal;

/// The target of the log that has a line a request: `--log info,access=debug`.
pub const ACCESS_LOG: &str = "access";

/// Longest request identifier taken over from a proxy.
const MAX_REQUEST_ID_BYTES: usize = 64;

/// The other end of the connection that a request came on.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// The client that a request is of.
#[derive(Debug, Clone, Copy)]
pub struct Client(pub IpAddr);

/// A name for a request, in the log and in its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// That which a proxy gave, if it is one; else a new one.
    pub fn of(given: Option<&[u8]>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static START: LazyLock<u32> = LazyLock::new(|| RandomState::new().hash_one(0u8) as u32);
        let is_good = |id: &&[u8]| {
            (1..=MAX_REQUEST_ID_BYTES).contains(&id.len())
                && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte))
        };
        match given.filter(is_good).and_then(|id| std::str::from_utf8(id).ok()) {
            Some(id) => Self(id.to_owned()),
            None => Self(format!("{:08x}{:08x}", *START, NEXT.fetch_add(1, Relaxed))),
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a path is to the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Pages and what they need before they can know a token; whether the server lives.
    Open,
    /// Needs a token.
    Closed,
    /// Needs a token, and is limited.
    Rest,
}

impl Kind {
    fn of(path: &str) -> Self {
        match path {
            "/api/certificate" => Self::Open,
            "/metrics" => Self::Closed,
            _ if path.starts_with("/api/") => Self::Rest,
            _ if path.starts_with("/sse/") || path.starts_with("/debug/") => Self::Closed,
            _ => Self::Open,
        }
    }
}

impl Guard {
    /// What lets a page of another origin read an answer; `None` where no page asked.
    pub fn cross_origin_headers<'a>(&self, origin: Option<&'a [u8]>) -> Option<[(&'static str, &'a str); 2]> {
        let origin = std::str::from_utf8(origin?).ok()?;
        // Credentials of the browser's own, cookies, play no part here: so the star does no harm.
        let allowed = if self.origins().allows_all() { "*" } else { origin };
        Some([("access-control-allow-origin", allowed), ("vary", "origin")])
    }

    fn check(&self, request: &Request, kind: Kind) -> Result<(), Refused> {
        let uri = request.uri();
        let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
        let access = self.admit(&Credentials {
            asked: Asked {
                origin: value(request.headers(), header::ORIGIN),
                host: authority.or_else(|| value(request.headers(), header::HOST)),
                any_port: false,
            },
            authorization: if kind == Kind::Open {
                None
            } else {
                value(request.headers(), header::AUTHORIZATION)
            },
            target: if kind == Kind::Open {
                ""
            } else {
                uri.path_and_query().map_or("", |target| target.as_str())
            },
        })?;
        match (access, kind) {
            (Access::Granted, _) | (Access::AwaitsToken, Kind::Open) => Ok(()),
            (Access::AwaitsToken, Kind::Closed | Kind::Rest) => Err(self.refuse(Refused::Token)),
        }
    }
}

/// Lets a request through to whoever answers it, or answers that it must not.
pub async fn guarded(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let forwarded = request.headers().get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes);
    let client = peer.map(|peer| guard.client(peer, forwarded));
    let proxied = peer.is_some_and(|peer| guard.proxies().contains(peer));
    let id =
        RequestId::of(value(request.headers(), HeaderName::from_static("x-request-id")).filter(|_| proxied));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let origin = request.headers().get(header::ORIGIN).cloned();
    let kind = Kind::of(&path);
    let is_preflight =
        method == Method::OPTIONS && request.headers().contains_key("access-control-request-method");

    let checked = if is_preflight {
        // Browsers send preflights without credentials: only the origin is looked at.
        guard.check(&request, Kind::Open)
    } else {
        guard.check(&request, kind)
    };
    let quota = match (kind, client) {
        (Kind::Rest, Some(client)) if !is_preflight => guard.request(client),
        _ => None,
    };
    let mut response = match checked {
        Err(reason) => refuse(&reason.into()),
        Ok(()) if is_preflight => preflight(),
        Ok(()) if quota.is_some_and(|quota| !quota.is_allowed) => refuse(&Refused::RestRate.into()),
        Ok(()) => {
            if let Some(client) = client {
                request.extensions_mut().insert(Client(client));
            }
            next.run(request).await
        }
    };
    let allowed = checked != Err(Refused::Origin);
    let cross_origin = origin.as_ref().filter(|_| allowed);
    add_headers(&guard, &mut response, cross_origin.map(HeaderValue::as_bytes), quota, &id);
    let (status, duration_us) = (response.status().as_u16(), began.elapsed().as_micros() as u64);
    let client = client.map(tracing::field::display);
    debug!(target: ACCESS_LOG, request_id = %id, client, %method, path, status, duration_us, "a request");
    response
}

fn value(headers: &HeaderMap, name: HeaderName) -> Option<&[u8]> {
    headers.get(name).map(HeaderValue::as_bytes)
}

fn preflight() -> Response {
    let headers = [
        ("access-control-allow-methods", "GET"),
        ("access-control-allow-headers", "authorization, last-event-id, cache-control"),
        ("access-control-max-age", "600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// A refusal as an answer of the HTTP library's.
pub fn refuse(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = (status, [("content-type", "application/json")], refusal.body()).into_response();
    for &(name, value) in refusal.headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    // On a connection of several requests there is nothing to upgrade.
    response.headers_mut().remove(header::UPGRADE);
    response
}

fn add_headers(
    guard: &Guard,
    response: &mut Response,
    origin: Option<&[u8]>,
    quota: Option<Quota>,
    id: &RequestId,
) {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        // Pages have one of their own; what is none has no business in a frame.
        let unframed = HeaderValue::from_static("frame-ancestors 'none'");
        headers.insert(header::CONTENT_SECURITY_POLICY, unframed);
    }
    let mut put = |name: &'static str, value: &str| {
        // All of these are made of visible characters; one that were not would only be left out.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    put("x-request-id", id.as_str());
    for (name, value) in guard.cross_origin_headers(origin).into_iter().flatten() {
        put(name, value);
    }
    if origin.is_some() && quota.is_some() {
        put(
            "access-control-expose-headers",
            "x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, retry-after",
        );
    }
    if let Some(quota) = quota {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = quota.resets_in.as_secs() + u64::from(quota.resets_in.subsec_nanos() > 0);
        put("x-ratelimit-limit", &quota.limit.to_string());
        put("x-ratelimit-remaining", &quota.remaining.to_string());
        put("x-ratelimit-reset", &(now + quota.resets_in).as_secs().to_string());
        if !quota.is_allowed {
            put("retry-after", &seconds.to_string());
        }
    }
}
