//! One body of tests for both databases.

use std::time::Duration;

use lastmile_processes::PrivatePostgres;
use lastmile_server::store::{Game, Store, StoreError, StoredRound};
use lastmile_wire::channel::KNOWN_GAMES;

const PATIENCE: Duration = Duration::from_secs(30);

fn round(round_id: u64, game: usize, timestamp: i64) -> StoredRound {
    let game = KNOWN_GAMES[game];
    StoredRound {
        round_id,
        game_id: u64::from(game.id),
        game_slug: game.slug.into(),
        game_type: game.game_type.into(),
        finished_at: "2026-01-17T00:45:42.735266-03:00".into(),
        extras: r#"{"point": "11.72", "word": "ação ☃"}"#.into(),
        timestamp,
    }
}

fn ids(rounds: &[StoredRound]) -> Vec<u64> {
    rounds.iter().map(|round| round.round_id).collect()
}

/// What has to hold on every database.
async fn behaves(url: &str) {
    let store = Store::connect(url, PATIENCE).await.expect("a database");
    store.ping().await.expect("it answers");

    let games = store.games().await.expect("games");
    assert_eq!(games.len(), KNOWN_GAMES.len());
    assert_eq!(
        serde_json::to_string(&games[3]).expect("JSON"),
        r#"{"id":4,"slug":"wall-street","name":"Wall Street","type":"trending"}"#
    );

    let game =
        |id: u64, slug: &str| Game { id, slug: slug.into(), name: slug.into(), game_type: "more".into() };
    // One that is there by its slug, and one by its identifier: both stay as they are.
    let more = [game(70, "channel-1"), game(71, "crash"), game(4, "channel-2")];
    store.add_games(&more).await.expect("games are added");
    store.add_games(&more).await.expect("and can be again");
    let slugs: Vec<String> = store.games().await.expect("games").into_iter().map(|game| game.slug).collect();
    assert_eq!(slugs, ["crash", "double", "slot", "wall-street", "channel-1"]);

    assert_eq!(store.latest("crash").await.expect("a query"), None);
    assert_eq!(store.history_of_game("no-such-game", 10).await.expect("a query"), []);
    assert_eq!(store.history_of_type("no-such-type", 10).await.expect("a query"), []);

    // Not in order, two of one millisecond, and one with the highest identifier there is.
    for new in [round(3, 0, 300), round(1, 0, 100), round(2, 0, 200), round(4, 0, 300), round(5, 1, 900)] {
        assert!(store.insert(&new).await.expect("an insert"));
    }
    let highest = round(i64::MAX as u64, 0, -1);
    assert!(store.insert(&highest).await.expect("an insert"));

    assert_eq!(ids(&store.history_of_game("crash", 3).await.expect("a query")), [4, 3, 2]);
    let all = store.history_of_game("crash", 1000).await.expect("a query");
    assert_eq!(ids(&all), [4, 3, 2, 1, i64::MAX as u64]);
    assert_eq!(all[4], highest, "negative times are kept as well");
    assert_eq!(ids(&store.history_of_type("color", 10).await.expect("a query")), [5]);

    let latest = store.latest("crash").await.expect("a query").expect("a round");
    assert_eq!(latest, round(4, 0, 300), "every field comes back as it was written");
    assert_eq!(
        String::from_utf8(latest.to_json()).expect("text"),
        concat!(
            r#"{"round_id":4,"game_id":1,"game_slug":"crash","game_type":"multiplier","#,
            r#""finished_at":"2026-01-17T00:45:42.735266-03:00","#,
            r#""extras":"{\"point\": \"11.72\", \"word\": \"ação ☃\"}","timestamp":300}"#
        )
    );

    // The first to be written stays.
    assert!(!store.insert(&round(4, 0, 999)).await.expect("an insert that does nothing"));
    assert_eq!(store.latest("crash").await.expect("a query").expect("a round").timestamp, 300);
    let stranger = StoredRound { game_id: 77, ..round(6, 0, 1) };
    let error = store.insert(&stranger).await.expect_err("no such game");
    assert!(matches!(error, StoreError::UnknownGame { game_id: 77 }), "{error}");
}

/// Connecting again, also from many places at once, finds what is there and changes nothing.
async fn is_shared(url: &str) {
    let stores = futures_util::future::join_all((0..6).map(|_| Store::connect(url, PATIENCE))).await;
    let stores: Vec<_> = stores.into_iter().map(|store| store.expect("a database")).collect();
    assert!(stores[0].insert(&round(1, 2, 5)).await.expect("an insert"));
    for store in &stores {
        assert_eq!(store.games().await.expect("games").len(), KNOWN_GAMES.len());
        assert_eq!(ids(&store.history_of_type("slots", 10).await.expect("a query")), [1]);
        store.close().await;
    }
}

/// A type with two games: their rounds are merged by time.
async fn merges_a_type(url: &str, sql: &str) {
    let store = Store::connect(url, PATIENCE).await.expect("a database");
    if url.starts_with("postgres") {
        let pool = sqlx::PgPool::connect(url).await.expect("a connection");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&pool).await.expect("a game more");
    } else {
        let pool = sqlx::SqlitePool::connect(url).await.expect("a connection");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&pool).await.expect("a game more");
    }
    for id in 0..10 {
        let game_id = if id % 2 == 0 { 1 } else { 9 };
        let new = StoredRound { game_id, ..round(100 + id, 0, 1000 + id as i64) };
        store.insert(&new).await.expect("an insert");
    }
    let newest = store.history_of_type("multiplier", 4).await.expect("a query");
    assert_eq!(ids(&newest), [109, 108, 107, 106]);
    assert_eq!(newest[0].game_slug, "crash-two");
    assert_eq!(newest[1].game_slug, "crash");
}

const SECOND_CRASH: &str =
    "INSERT INTO games (id, slug, name, type) VALUES (9, 'crash-two', 'Crash Two', 'multiplier')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = |name: &str| format!("sqlite://{}/not yet there/{name}.db", folder.path().display());
    behaves(&url("one")).await;
    is_shared(&url("two")).await;
    merges_a_type(&url("three"), SECOND_CRASH).await;
}

#[tokio::test]
async fn sqlite_in_memory() {
    behaves("sqlite::memory:").await;
    behaves("sqlite://:memory:").await;
}

#[tokio::test]
async fn memory_is_not_forgotten_while_the_store_lives() {
    let store = Store::connect("sqlite::memory:", PATIENCE).await.expect("a database");
    let other = store.clone();
    futures_util::future::join_all((1..=20).map(|id| {
        let store = store.clone();
        async move { store.insert(&round(id, 0, id as i64)).await.expect("an insert") }
    }))
    .await;
    assert_eq!(other.history_of_game("crash", 100).await.expect("a query").len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    let mut server = PrivatePostgres::start().expect("a PostgreSQL");
    behaves(&server.url()).await;
    for name in ["two", "three"] {
        let pool = sqlx::PgPool::connect(&server.url()).await.expect("a connection");
        let sql = format!("CREATE DATABASE {name}");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&pool).await.expect("a database more");
    }
    is_shared(&server.url().replace("/postgres?", "/two?")).await;
    merges_a_type(&server.url().replace("/postgres?", "/three?"), SECOND_CRASH).await;

    let error = Store::connect(&server.url().replace("/postgres?", "/absent?"), PATIENCE).await;
    let error = error.expect_err("no such database");
    assert!(matches!(error, StoreError::Refused { .. }), "refused at once, not waited for: {error}");

    // It goes away and comes back under a store that is connected, and under one that is connecting.
    let store = Store::connect(&server.url(), PATIENCE).await.expect("a database");
    server.stop().expect("it stops");
    store.ping().await.expect_err("nobody answers");
    let url = server.url();
    let patient = tokio::spawn(async move { Store::connect(&url, PATIENCE).await });
    server.restart().expect("it comes back");
    patient.await.expect("no panic").expect("it was waited for");
    store.ping().await.expect("it answers again");
    assert_eq!(store.latest("double").await.expect("a query").expect("a round").round_id, 5);
}

#[tokio::test]
async fn an_absent_postgres_is_told_in_time_and_without_the_password() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("postgres://me:secret@localhost/games?host={}", folder.path().display());
    let started = std::time::Instant::now();
    let error = Store::connect(&url, Duration::from_millis(300)).await.expect_err("nobody is there");
    assert!(started.elapsed() < PATIENCE);
    let message = error.to_string();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{message}");
    assert!(message.contains("database games") && message.contains("--database"), "{message}");
    assert!(!message.contains("secret"), "{message}");
}

#[tokio::test]
async fn each_faulty_url_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "not a database, though long enough to have a header ".repeat(40)).expect("a file");
    for (url, expected) in [
        ("mysql://me:secret@host/db".to_owned(), "mysql:… is no database URL"),
        ("games.db".to_owned(), "use sqlite://PATH"),
        ("postgres://host:port/db".to_owned(), "can't be read"),
        (format!("sqlite://{}/sub/file.db", file.display()), "could not make the folder"),
        (format!("sqlite://{}", file.display()), "--database"),
        (format!("sqlite://{}", folder.path().display()), "--database"),
    ] {
        let error = Store::connect(&url, PATIENCE).await.expect_err(&url).to_string();
        assert!(error.contains(expected), "{url}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
