//! Why a stream is not given, in the contract's words.

use lastmile_wire::request::RequestError;

/// The answer to a request for a stream that is not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// What is wrong, for the client's developer.
    pub error: String,
}

impl Refusal {
    /// No such game or type.
    pub fn not_found() -> Self {
        Self { status: 404, error: "Game not found".to_owned() }
    }

    /// The request can't be understood.
    pub fn bad_request(error: impl Into<String>) -> Self {
        Self { status: 400, error: error.into() }
    }

    /// A WebSocket address asked for without a WebSocket handshake.
    pub fn upgrade_required() -> Self {
        Self { status: 426, error: "this address speaks WebSocket version 13".to_owned() }
    }

    /// A stream is only ever asked for with GET.
    pub fn method_not_allowed() -> Self {
        Self { status: 405, error: "Method not allowed".to_owned() }
    }

    /// The head of the request is longer than [`super::MAX_HEAD_BYTES`].
    pub fn head_too_large() -> Self {
        Self { status: 431, error: "the request's head is too large".to_owned() }
    }

    /// The body: the contract's error object.
    pub fn body(&self) -> String {
        serde_json::json!({ "error": self.error, "success": false }).to_string()
    }

    /// A whole HTTP/1.1 response.
    pub fn to_http(&self) -> Vec<u8> {
        let (reason, more) = match self.status {
            400 => ("Bad Request", ""),
            404 => ("Not Found", ""),
            431 => ("Request Header Fields Too Large", ""),
            _ => ("Upgrade Required", "upgrade: websocket\r\nsec-websocket-version: 13\r\n"),
        };
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
            RequestError::NoTopic { .. } => Self { status: 404, error: error.to_string() },
            RequestError::Parameter { .. } => Self::bad_request(error.to_string()),
        }
    }
}
