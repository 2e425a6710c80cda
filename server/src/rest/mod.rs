//! What is asked for and answered once: REST, health, metrics and the pages.
//!
//! Lives on the control runtime, away from everything that delivers rounds; a slow database or scrape stops
//! only itself.

mod answer;
mod pages;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::store::{Store, StoredRound};
use answer::{Failure, game_not_found, json, json_bytes};

/// Rounds a history has where nothing is said.
const DEFAULT_LIMIT: u32 = 500;

/// The database's name among the problems.
pub const DATABASE: &str = "database";

/// Rounds a history has at most.
const MAX_LIMIT: u32 = 1000;

/// Answers with a game's newest round from memory, by slug.
pub type LatestRound = Arc<dyn Fn(&str) -> BoxFuture<'static, Option<Bytes>> + Send + Sync>;

/// Answers at once with what keeps the server from its work as far as it knows, nothing if all is well.
pub type FindProblems = Arc<dyn Fn() -> BoxFuture<'static, Vec<Problem>> + Send + Sync>;

/// Answers with the hash of the certificate that new connections get, where clients know it by that alone.
pub type CertificateHash = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Answers with the metrics in Prometheus' text format.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// Something the server depends on and can't use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What it is: `redis`, `database`.
    pub name: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// What the answers are made from.
#[derive(Clone)]
pub struct RestState {
    /// Games and past rounds.
    pub store: Store,
    /// The newest round of a game, asked before the store.
    pub latest: LatestRound,
    /// What keeps the server from its work.
    pub problems: FindProblems,
    /// What `/metrics` says.
    pub metrics: MetricsText,
    /// Answers with the hash of the self-signed certificate; `None` where clients trust the certificate without.
    pub certificate_sha256: CertificateHash,
    /// UDP port of WebTransport, for the pages.
    pub webtransport_port: u16,
}

impl fmt::Debug for RestState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RestState").field("store", &self.store).finish_non_exhaustive()
    }
}

/// The routes. Its answer to everything else is a 404 in JSON.
pub fn router(state: RestState) -> Router {
    let pages = pages::router(state.webtransport_port);
    Router::new()
        .route("/api/games", get(games))
        .route("/api/latest/{game}", get(latest))
        .route("/api/history/{game}", get(history_of_game))
        .route("/api/history/type/{type}", get(history_of_type))
        .route("/api/certificate", get(certificate))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .merge(pages)
        .fallback(|| async { Failure::new(StatusCode::NOT_FOUND, "Not found") })
        .method_not_allowed_fallback(|| async {
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
        })
        .with_state(state)
}

type Answer = Result<Response, Failure>;

/// A path segment; one that is no UTF-8 names nothing there is.
type Segment = Result<Path<String>, PathRejection>;

/// The query of a history.
#[derive(Deserialize)]
struct HistoryQuery {
    limit: Option<String>,
}

async fn games(State(state): State<RestState>) -> Answer {
    Ok(json(StatusCode::OK, &state.store.games().await?))
}

async fn latest(State(state): State<RestState>, slug: Segment) -> Answer {
    let Path(slug) = slug.map_err(|_| game_not_found())?;
    if let Some(round) = (state.latest)(&slug).await {
        return Ok(json_bytes(StatusCode::OK, round));
    }
    if let Some(round) = state.store.latest(&slug).await? {
        return Ok(json_bytes(StatusCode::OK, Bytes::from(round.to_json())));
    }
    if state.store.games().await?.iter().any(|game| game.slug == slug) {
        return Err(Failure::new(StatusCode::NOT_FOUND, "No rounds yet"));
    }
    Err(game_not_found())
}

async fn history_of_game(
    State(state): State<RestState>,
    slug: Segment,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Answer {
    let Path(slug) = slug.map_err(|_| game_not_found())?;
    let limit = limit(query)?;
    let rounds = state.store.history_of_game(&slug, limit).await?;
    if rounds.is_empty() && !state.store.games().await?.iter().any(|game| game.slug == slug) {
        return Err(game_not_found());
    }
    Ok(history(&rounds))
}

async fn history_of_type(
    State(state): State<RestState>,
    name: Segment,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Answer {
    let Path(name) = name.map_err(|_| game_not_found())?;
    let limit = limit(query)?;
    let rounds = state.store.history_of_type(&name, limit).await?;
    if rounds.is_empty() && !state.store.games().await?.iter().any(|game| game.game_type == name) {
        return Err(game_not_found());
    }
    Ok(history(&rounds))
}

async fn certificate(State(state): State<RestState>) -> Answer {
    let Some(value) = (state.certificate_sha256)() else {
        return Err(Failure::new(
            StatusCode::NOT_FOUND,
            "This server's certificate is not self-signed: connect without serverCertificateHashes",
        ));
    };
    Ok(json(StatusCode::OK, &serde_json::json!({ "algorithm": "sha-256", "value": value })))
}

/// Alive whatever is away, for a new process would have it no better; but it says what is.
async fn healthz(State(state): State<RestState>) -> Response {
    let problems = (state.problems)().await;
    json(StatusCode::OK, &serde_json::json!({ "status": "alive", "problems": problems }))
}

async fn readyz(State(state): State<RestState>) -> Response {
    let (mut problems, database) = tokio::join!((state.problems)(), state.store.ping());
    // What it says now counts, not what is remembered.
    problems.retain(|problem| problem.name != DATABASE);
    if let Err(error) = database {
        problems.push(Problem { name: DATABASE, problem: error.to_string() });
    }
    let (status, word) = if problems.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    json(status, &serde_json::json!({ "status": word, "problems": problems }))
}

async fn metrics(State(state): State<RestState>) -> Response {
    ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], (state.metrics)()).into_response()
}

fn limit(query: Result<Query<HistoryQuery>, QueryRejection>) -> Result<u32, Failure> {
    let limit = match query {
        Ok(Query(HistoryQuery { limit: None })) => Some(DEFAULT_LIMIT),
        Ok(Query(HistoryQuery { limit: Some(text) })) => text.parse().ok(),
        Err(_) => None,
    };
    limit.filter(|limit| (1..=MAX_LIMIT).contains(limit)).ok_or_else(|| {
        Failure::new(StatusCode::BAD_REQUEST, format!("limit must be a whole number from 1 to {MAX_LIMIT}"))
    })
}

fn history(rounds: &[StoredRound]) -> Response {
    json(StatusCode::OK, &rounds)
}
