//! Answers in JSON, failures among them.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use tracing::warn;

use crate::store::StoreError;

/// A request that can't be answered as it was meant: `{"error":"…","success":false}`.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    error: Cow<'static, str>,
}

#[derive(Serialize)]
struct FailureBody<'a> {
    error: &'a str,
    success: bool,
}

impl Failure {
    pub(super) fn new(status: StatusCode, error: impl Into<Cow<'static, str>>) -> Self {
        Self { status, error: error.into() }
    }
}

/// The documented answer for a slug or a type that is not in the database.
pub(super) fn game_not_found() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "Game not found")
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        // What a database says may name hosts and users: it is for the log, not for whoever asked.
        warn!(%error, "a request could not be answered");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "The database can't be reached")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        json(self.status, &FailureBody { error: &self.error, success: false })
    }
}

/// An answer of values that serialize without fail.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => json_bytes(status, Bytes::from(body)),
        Err(error) => {
            warn!(%error, "an answer could not be serialized");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// An answer that is JSON already. Never kept by anybody: the next round makes it old.
pub(super) fn json_bytes(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
