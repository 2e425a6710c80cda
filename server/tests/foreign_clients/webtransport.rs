//! WebTransport: Chromium, and aioquic.

use lastmile_processes::{Child, Launch, Signal};

use super::{Site, browser_client, client, ends_well, line, lines, tool};

/// Chromium with a WebTransport session for each delivery.
fn sessions_in_chromium(site: &Site, count: &str, deliveries: &[&str]) -> Child {
    let web_transport = format!("https://{}", site.said("webtransport"));
    let http = site.url("http", "");
    let mut arguments = vec![http.as_str(), &web_transport, site.said("certificate_sha256"), count];
    arguments.extend(deliveries);
    browser_client("webtransport_client.cjs", &arguments)
}

#[test]
fn chromium_receives_rounds_over_webtransport_streams() {
    let site = Site::open(&[]);
    let first = site.publish(1);
    let browser = sessions_in_chromium(&site, "3", &["stream", "streams"]);
    let by_both = |round: &str| ["stream", "streams"].map(|delivery| format!("{delivery} {round}"));
    let opened: Vec<_> = by_both("open").into_iter().chain(by_both(&first)).collect();
    let mut received = lines(&browser, 4);
    received.sort_by_key(|line| !line.ends_with("open"));
    assert_eq!(received, opened);
    for round_id in 2..=3 {
        let round = site.publish(round_id);
        assert_eq!(lines(&browser, 2), by_both(&round));
    }
    ends_well(&browser);
}

#[test]
fn chromium_receives_rounds_over_webtransport_datagrams() {
    // Nothing is published before the session stands: Chromium drops datagrams that come too early.
    let site = Site::open(&[]);
    let browser = sessions_in_chromium(&site, "2", &["datagram"]);
    assert_eq!(line(&browser), "datagram open");
    for round_id in 1..=2 {
        let round = site.publish(round_id);
        assert_eq!(line(&browser), format!("datagram {round}"));
    }
    ends_well(&browser);
}

fn aioquic_client(site: &Site, path: &str, delivery: &str) -> Child {
    let (host, port) = site.said("webtransport").rsplit_once(':').expect("host and port");
    Launch::new("the aioquic client", tool("LASTMILE_PYTHON", "python/bin/python3"))
        .argument(client("aioquic_client.py"))
        .arguments([host, port, path, delivery])
        .spawn()
        .expect("a client")
}

#[test]
fn aioquic_receives_rounds_in_every_delivery() {
    let site = Site::open(&[]);
    for (delivery, round_id) in [("stream", 1), ("streams", 11), ("datagram", 21)] {
        let clients = ["/wt/crash", "/wt/type/multiplier"].map(|path| aioquic_client(&site, path, delivery));
        for client in &clients {
            assert_eq!(line(client), "open", "{delivery}");
        }
        for round_id in round_id..round_id + 3 {
            let round = site.publish(round_id);
            for client in &clients {
                // The latest round of the delivery before comes first.
                let received = std::iter::repeat_with(|| line(client)).find(|line| !is_older(line, round_id));
                assert_eq!(received.as_ref(), Some(&round), "{delivery}");
            }
        }
    }
    let refused = aioquic_client(&site, "/wt/nowhere", "stream");
    assert_eq!(line(&refused), "refused 404");
    let last = aioquic_client(&site, "/wt/crash", "stream");
    assert_eq!(line(&last), "open");
    site.server.signal(Signal::TERM).expect("it runs");
    let ended = std::iter::repeat_with(|| line(&last)).find(|line| line.starts_with("ended"));
    assert!(ended.is_some());
}

fn is_older(round: &str, round_id: u64) -> bool {
    let digits = round.strip_prefix("{\"round_id\":").and_then(|rest| rest.split(',').next());
    digits.and_then(|digits| digits.parse::<u64>().ok()).is_some_and(|id| id < round_id)
}
