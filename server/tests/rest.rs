//! REST, health and pages, over a real socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use lastmile_processes::PrivatePostgres;
use lastmile_server::rest::{Problem, RestState, router};
use lastmile_server::store::{Store, StoredRound};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(30);

/// What the fake memory holds for the game `double`; not what the store would make of it.
const IN_MEMORY: &str = r#"{"round_id":  7}"#;

/// A server of the routes alone.
struct Site {
    address: SocketAddr,
    store: Store,
    redis_is_gone: Arc<AtomicBool>,
}

/// An answer, taken apart.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        assert!(self.head.contains("content-type: application/json\r\n"), "{}", self.head);
        serde_json::from_str(&self.body).expect("JSON")
    }
}

impl Site {
    async fn open(database: &str) -> Self {
        let store = Store::connect(database, PATIENCE).await.expect("a database");
        let redis_is_gone = Arc::new(AtomicBool::new(false));
        let gone = Arc::clone(&redis_is_gone);
        let state = RestState {
            store: store.clone(),
            latest: Arc::new(|slug| {
                let round = (slug == "double").then(|| Bytes::from_static(IN_MEMORY.as_bytes()));
                async move { round }.boxed()
            }),
            problems: Arc::new(move || {
                let gone = gone.load(Ordering::Relaxed);
                let problem = || Problem { name: "redis", problem: "connection refused".into() };
                async move { gone.then(problem).into_iter().collect() }.boxed()
            }),
            metrics: Arc::new(|| "lastmile_connections 3\n".to_owned()),
            certificate_sha256: Arc::new(|| Some("ab".repeat(32))),
            webtransport_port: 45678,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router(state)).await });
        Self { address, store, redis_is_gone }
    }

    async fn insert(&self, round_id: u64, timestamp: i64) {
        let round = StoredRound {
            round_id,
            game_id: 1,
            game_slug: "crash".into(),
            game_type: "multiplier".into(),
            finished_at: "2026-01-17T00:45:42.735266-03:00".into(),
            extras: r#"{"point": "11.72"}"#.into(),
            timestamp,
        };
        assert!(self.store.insert(&round).await.expect("an insert"));
    }

    async fn ask(&self, method: &str, target: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        let request = format!("{method} {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut text = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut text))
            .await
            .expect("an answer in time")
            .expect("an answer");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
        Answer { status, head: format!("{}\r\n", head.to_lowercase()), body: body.to_owned() }
    }

    async fn get(&self, target: &str) -> Answer {
        self.ask("GET", target).await
    }

    /// Asserts a failure in the documented shape.
    async fn refuses(&self, target: &str, status: u16, error: &str) {
        let answer = self.get(target).await;
        assert_eq!(answer.status, status, "{target}: {}", answer.body);
        assert_eq!(answer.json(), json!({ "error": error, "success": false }), "{target}");
    }
}

#[tokio::test]
async fn games_are_listed() {
    let site = Site::open("sqlite::memory:").await;
    let answer = site.get("/api/games").await;
    assert_eq!(answer.status, 200);
    let games = answer.json();
    assert_eq!(games.as_array().expect("an array").len(), 4);
    assert_eq!(games[0], json!({ "id": 1, "slug": "crash", "name": "Crash", "type": "multiplier" }));
}

#[tokio::test]
async fn the_latest_round_comes_from_memory_and_else_from_the_database() {
    let site = Site::open("sqlite::memory:").await;
    site.insert(512, 1).await;
    let answer = site.get("/api/latest/crash").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        concat!(
            r#"{"round_id":512,"game_id":1,"game_slug":"crash","game_type":"multiplier","#,
            r#""finished_at":"2026-01-17T00:45:42.735266-03:00","extras":"{\"point\": \"11.72\"}","timestamp":1}"#
        )
    );
    assert!(answer.head.contains("cache-control: no-store\r\n"), "{}", answer.head);
    assert_eq!(site.get("/api/latest/double").await.body, IN_MEMORY, "byte for byte as published");
    site.refuses("/api/latest/slot", 404, "No rounds yet").await;
    for unknown in ["/api/latest/poker", "/api/latest/%FF", "/api/latest/cr%61sh2"] {
        site.refuses(unknown, 404, "Game not found").await;
    }
    assert_eq!(site.get("/api/latest/cr%61sh").await.status, 200, "paths are percent-decoded");
}

#[tokio::test]
async fn histories_are_newest_first_and_limited() {
    let site = Site::open("sqlite::memory:").await;
    for number in 1..=600 {
        site.insert(number, 1000 + number as i64).await;
    }
    for path in ["/api/history/crash", "/api/history/type/multiplier"] {
        let ids = |answer: Answer| -> Vec<u64> {
            assert_eq!(answer.status, 200, "{}", answer.body);
            let rounds = answer.json();
            let rounds = rounds.as_array().expect("an array").iter();
            rounds.map(|round| round["round_id"].as_u64().expect("an id")).collect()
        };
        assert_eq!(ids(site.get(&format!("{path}?limit=3")).await), [600, 599, 598]);
        assert_eq!(ids(site.get(path).await).len(), 500, "the default");
        assert_eq!(ids(site.get(&format!("{path}?limit=1000")).await).len(), 600);
        assert_eq!(ids(site.get(&format!("{path}?other=1&limit=1")).await), [600]);
        let message = "limit must be a whole number from 1 to 1000";
        for wrong in ["0", "1001", "-1", "abc", "", "1.5", "99999999999999999999", "1&limit=2", "%FF"] {
            site.refuses(&format!("{path}?limit={wrong}"), 400, message).await;
        }
    }
    assert_eq!(site.get("/api/history/slot").await.json(), json!([]));
    assert_eq!(site.get("/api/history/type/slots").await.json(), json!([]));
    site.refuses("/api/history/poker", 404, "Game not found").await;
    site.refuses("/api/history/type/cards", 404, "Game not found").await;
    // A game's own name is not taken for a type's, and the other way round.
    site.refuses("/api/history/type/crash", 404, "Game not found").await;
    site.refuses("/api/history/multiplier", 404, "Game not found").await;
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_done_is_told_in_json() {
    let site = Site::open("sqlite::memory:").await;
    for path in ["/nowhere", "/api", "/api/history", "/api/history/type/a/b", "/assets/../secret"] {
        site.refuses(path, 404, "Not found").await;
    }
    for path in ["/api/games", "/", "/metrics"] {
        let answer = site.ask("POST", path).await;
        assert_eq!(answer.status, 405, "{path}");
        assert_eq!(answer.json(), json!({ "error": "Method not allowed", "success": false }));
        assert!(answer.head.contains("allow: get,head\r\n"), "{}", answer.head);
    }
    let head = site.ask("HEAD", "/api/games").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn health_metrics_and_certificate_are_served() {
    let site = Site::open("sqlite::memory:").await;
    assert_eq!(site.get("/healthz").await.status, 200);
    let metrics = site.get("/metrics").await;
    assert_eq!(metrics.body, "lastmile_connections 3\n");
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"), "{}", metrics.head);
    let certificate = site.get("/api/certificate").await;
    assert_eq!(certificate.body, format!(r#"{{"algorithm":"sha-256","value":"{}"}}"#, "ab".repeat(32)));
}

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let site = Site::open("sqlite::memory:").await;
    let ready = site.get("/readyz").await;
    assert_eq!((ready.status, ready.json()), (200, json!({ "status": "ready", "problems": [] })));

    site.redis_is_gone.store(true, Ordering::Relaxed);
    let answer = site.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.json(),
        json!({ "status": "not ready", "problems": [{ "name": "redis", "problem": "connection refused" }] })
    );
    let alive = site.get("/healthz").await;
    assert_eq!(
        (alive.status, alive.json()),
        (
            200,
            json!({ "status": "alive", "problems": [{ "name": "redis", "problem": "connection refused" }] })
        ),
        "alive all the same, and it tells"
    );
    site.redis_is_gone.store(false, Ordering::Relaxed);
    assert_eq!(site.get("/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_is_told_and_comes_back() {
    let mut server = PrivatePostgres::start().expect("a PostgreSQL");
    let site = Site::open(&server.url()).await;
    site.insert(9, 1).await;
    assert_eq!(site.get("/readyz").await.status, 200);

    server.stop().expect("it stops");
    let answer = site.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["problems"][0]["name"], "database");
    site.refuses("/api/history/crash", 503, "The database can't be reached").await;
    site.refuses("/api/games", 503, "The database can't be reached").await;
    assert_eq!(site.get("/api/latest/double").await.body, IN_MEMORY, "memory needs no database");

    server.restart().expect("it comes back");
    assert_eq!(site.get("/readyz").await.status, 200);
    assert_eq!(site.get("/api/latest/crash").await.json()["round_id"], 9);
}

#[tokio::test]
async fn pages_need_nothing_from_elsewhere() {
    let site = Site::open("sqlite::memory:").await;
    for page in ["/", "/websocket.html", "/sse.html", "/webtransport.html", "/test.html"] {
        let answer = site.get(page).await;
        assert_eq!(answer.status, 200, "{page}");
        assert!(answer.head.contains("content-type: text/html; charset=utf-8\r\n"), "{}", answer.head);
        assert!(answer.head.contains("content-security-policy: default-src 'none'; script-src 'self';"));
        assert!(answer.head.contains("https://*:45678;"), "{}", answer.head);
        assert!(!answer.body.contains("{{"), "{page}: a mark was left");
        assert!(page == "/" || answer.body.contains(r#"data-webtransport-port="45678""#), "{page}");
        // Every link and script leads to this server, and exists.
        for attribute in ["href=\"", "src=\""] {
            for link in answer.body.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(link.starts_with('/') || link == "data:,", "{page} leads to {link}");
                if link.starts_with('/') && link != "/api/latest/crash" {
                    assert_eq!(site.get(link).await.status, 200, "{page} leads to {link}");
                }
            }
        }
    }
    assert!(site.get("/assets/live.js").await.head.contains("content-type: text/javascript"));
    assert!(site.get("/assets/live.css").await.head.contains("content-type: text/css"));
}
