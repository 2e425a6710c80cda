//! The server's own pages in Chromium.

use super::{PATIENCE, Site, browser_client, ends_well, line};

#[test]
fn the_pages_show_rounds_in_chromium() {
    show_rounds(&[], "");
}

#[test]
fn pages_opened_with_a_token_show_rounds_of_a_server_that_asks_for_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokens");
    std::fs::write(&path, "a-token-of+the/pages==").expect("a file");
    let flags = ["--token-file", path.to_str().expect("text"), "--limits", "on"];
    show_rounds(&flags, "?token=a-token-of%2Bthe%2Fpages%3D%3D");
}

fn show_rounds(flags: &[&str], query: &str) {
    let site = Site::open(flags);
    let browser = browser_client("pages_client.cjs", &[&site.url("http", ""), query]);
    let deliveries = ["wt-stream", "wt-streams", "wt-datagram"];
    let all = ["ws", "sse", deliveries[0], deliveries[1], deliveries[2]];
    let pages =
        [("websocket", &["ws"][..]), ("sse", &["sse"]), ("webtransport", &deliveries), ("test", &all)];
    for (round_id, (page, streams)) in (1..).zip(pages) {
        assert_eq!(line(&browser), format!("{page} open"));
        site.publish(round_id);
        for stream in streams {
            // A page may show the round before first, which is the latest as it opens.
            let shown = line(&browser);
            let rounds = [round_id, round_id - 1].map(|round_id| format!("{page} {stream} {round_id}"));
            assert!(rounds.contains(&shown), "{shown} is none of {rounds:?}");
        }
        assert_eq!(line(&browser), format!("{page} closed"));
    }
    ends_well(&browser);
    assert!(browser.read_line(PATIENCE).is_err(), "there are no complaints left to read");
}

#[test]
fn the_overview_is_live_and_a_page_comes_back_when_its_server_does() {
    let mut site = Site::open(&[]);
    let browser = browser_client("overview_client.cjs", &[&site.url("http", "")]);
    assert_eq!(line(&browser), "overview open");
    site.publish(7);
    assert_eq!(line(&browser), "overview 7 4");
    assert_eq!(line(&browser), "page crash open");
    site.restart();
    assert_eq!(line(&browser), "page crash failed");
    assert_eq!(line(&browser), "page problem closed with 1001: server going away");
    assert_eq!(line(&browser), "page crash open");
    assert_eq!(line(&browser), "page reconnects 1");
    ends_well(&browser);
}
