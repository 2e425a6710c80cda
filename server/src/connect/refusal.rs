//! Why a stream is not given, in the contract's words.

use lastmile_wire::request::RequestError;

use crate::guard::Refused;

/// The answer to a request for a stream that is not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// What is wrong, for the client's developer.
    pub error: String,
    /// Headers that belong to the status.
    pub headers: &'static [(&'static str, &'static str)],
}

impl Refusal {
    fn new(status: u16, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), headers: &[] }
    }

    /// No such game or type.
    pub fn not_found() -> Self {
        Self::new(404, "Game not found")
    }

    /// The request can't be understood.
    pub fn bad_request(error: impl Into<String>) -> Self {
        Self::new(400, error)
    }

    /// A WebSocket address asked for without a WebSocket handshake.
    pub fn upgrade_required() -> Self {
        let headers = &[("upgrade", "websocket"), ("sec-websocket-version", "13")];
        Self { headers, ..Self::new(426, "this address speaks WebSocket version 13") }
    }

    /// A stream is only ever asked for with GET.
    pub fn method_not_allowed() -> Self {
        Self::new(405, "Method not allowed")
    }

    /// The head of the request is longer than [`super::MAX_HEAD_BYTES`].
    pub fn head_too_large() -> Self {
        Self::new(431, "the request's head is too large")
    }

    /// Nobody is served any more.
    pub fn shutting_down() -> Self {
        Self::new(503, "the server is shutting down")
    }

    /// The body: the contract's error object.
    pub fn body(&self) -> String {
        serde_json::json!({ "error": self.error, "success": false }).to_string()
    }

    /// A whole HTTP/1.1 response.
    pub fn to_http(&self) -> Vec<u8> {
        let reason = match self.status {
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            426 => "Upgrade Required",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let line = |(name, value): &(&str, &str)| [name, ": ", value, "\r\n"].concat();
        let more: String = self.headers.iter().map(line).collect();
        let body = self.body();
        format!(
            "HTTP/1.1 {} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{more}\
             connection: close\r\n\r\n{body}",
            self.status,
            body.len()
        )
        .into_bytes()
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::NoTopic { .. } => Self::new(404, error.to_string()),
            RequestError::Parameter { .. } => Self::bad_request(error.to_string()),
        }
    }
}

impl From<Refused> for Refusal {
    fn from(reason: Refused) -> Self {
        const TOO_MANY: &str = "Too many requests, please slow down";
        match reason {
            Refused::Origin => Self::new(403, "Pages of this origin are not allowed here"),
            Refused::Token => {
                let headers = &[("www-authenticate", "Bearer")];
                Self { headers, ..Self::new(401, "A token is needed that is known here") }
            }
            Refused::ConnectRate | Refused::RestRate | Refused::CommandRate => {
                Self { headers: &[("retry-after", "1")], ..Self::new(429, TOO_MANY) }
            }
            Refused::ConnectionsOfAddress => Self {
                headers: &[("retry-after", "60")],
                ..Self::new(429, "Too many connections from your address")
            },
            Refused::Connections => Self {
                headers: &[("retry-after", "10")],
                ..Self::new(503, "The server is full, please come back later")
            },
        }
    }
}
