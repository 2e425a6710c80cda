//! Event streams: curl, and Chromium's `EventSource`, which reconnects by itself.

use lastmile_processes::{Child, Launch};

use super::relay::Relay;
use super::{Site, browser_client, line};

fn curl(arguments: &[&str]) -> Child {
    let arguments = ["--no-buffer", "--silent", "--show-error"].iter().chain(arguments);
    Launch::new("curl", "curl").arguments(arguments).spawn().expect("curl: apt-get install curl")
}

/// Skips to the next event of an event stream and returns its lines.
fn event(child: &Child) -> Vec<String> {
    let mut event = Vec::new();
    loop {
        match line(child) {
            text if text.is_empty() && event.iter().any(|line: &String| line.starts_with("data:")) => {
                return event;
            }
            // The end of a block without data: the retry line's, or a heartbeat's.
            text if text.is_empty() => event.clear(),
            text => event.push(text),
        }
    }
}

fn expected_event(name: &str, round_id: u64, round: &str) -> Vec<String> {
    vec![format!("event: {name}"), format!("id: {round_id}"), format!("data: {round}")]
}

#[test]
fn curl_receives_an_event_stream_over_both_versions_of_http() {
    let plain: (&[&str], _) = (&[], "http");
    let tls: (&[&str], _) = (&["--tls", "self-signed"], "https");
    for ((flags, scheme), version) in
        [(plain, "--http1.1"), (plain, "--http2-prior-knowledge"), (tls, "--http1.1"), (tls, "--http2")]
    {
        let site = Site::open(flags);
        let first = site.publish(1);
        let [by_game, by_type] = ["/sse/crash", "/sse/type/multiplier"]
            .map(|path| curl(&[version, "--insecure", &site.url(scheme, path)]));
        for client in [&by_game, &by_type] {
            assert_eq!(event(client), expected_event("initial", 1, &first), "{version}");
        }
        let second = site.publish(2);
        for client in [&by_game, &by_type] {
            assert_eq!(event(client), expected_event("message", 2, &second), "{version}");
        }
    }
}

#[test]
fn chromiums_event_source_comes_back_and_says_what_it_had_last() {
    let site = Site::open(&[]);
    let relay = Relay::to(site.said("http"));
    let first = site.publish(1);
    let browser = browser_client("event_source.cjs", &[&relay.origin(), "/sse/crash"]);
    assert_eq!([line(&browser), line(&browser)], ["open".to_owned(), format!("initial 1 {first}")]);
    let second = site.publish(2);
    assert_eq!(line(&browser), format!("message 2 {second}"));
    relay.cut();
    assert_eq!(line(&browser), "reconnecting");
    // In the time that the server's retry: line gave.
    assert_eq!(line(&browser), "open");
    let asked: Vec<_> =
        relay.heads().into_iter().filter(|head| head.starts_with("get /sse/crash ")).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(!asked[0].contains("last-event-id"), "{}", asked[0]);
    assert!(asked[1].contains("\r\nlast-event-id: 2\r\n"), "{}", asked[1]);
    let third = site.publish(3);
    let received = std::iter::repeat_with(|| line(&browser)).find(|line| line.starts_with("message"));
    assert_eq!(received, Some(format!("message 3 {third}")));
}
