//! WebSocket: `websockets` for Python and `ws` for Node.js.

use lastmile_processes::{Child, Launch, Signal};

use super::{PATIENCE, Site, client, line, tool};

fn websocket_client(url: &str) -> Child {
    Launch::new("the websockets client", tool("LASTMILE_PYTHON", "python/bin/python3"))
        .argument(client("websocket_client.py"))
        .argument(url)
        .spawn()
        .expect("a client")
}

fn ws_client(url: &str) -> Child {
    Launch::new("the ws client", "node")
        .argument(client("ws_client.cjs"))
        .argument(url)
        .environment("NODE_PATH", tool("LASTMILE_WS_MODULES", "ws/node_modules"))
        .spawn()
        .expect("node")
}

#[test]
fn the_websockets_package_receives_rounds_and_is_told_goodbye() {
    for (flags, scheme) in [(&[][..], "ws"), (&["--tls", "self-signed"][..], "wss")] {
        let site = Site::open(flags);
        let first = site.publish(1);
        let by_game = websocket_client(&site.url(scheme, "/ws/crash"));
        let by_type = websocket_client(&site.url(scheme, "/ws/type/multiplier"));
        for client in [&by_game, &by_type] {
            assert_eq!(line(client), first);
        }
        let second = site.publish(2);
        for client in [&by_game, &by_type] {
            assert_eq!(line(client), second);
        }
        site.server.signal(Signal::TERM).expect("it runs");
        for client in [&by_game, &by_type] {
            assert_eq!(line(client), "closed 1001");
        }
        let status = site.server.wait(PATIENCE).expect("it can be waited for");
        assert!(status.expect("it ends").success());
    }
}

#[test]
fn the_ws_package_receives_rounds_answers_pings_and_is_told_goodbye() {
    let heartbeats = ["--heartbeat-s", "0.2", "--idle-limit-s", "60"];
    for (flags, scheme) in [(&heartbeats[..], "ws"), (&["--tls", "self-signed"][..], "wss")] {
        let site = Site::open(flags);
        let first = site.publish(1);
        let client = ws_client(&site.url(scheme, "/ws/crash"));
        assert_eq!(line(&client), "open, extensions: none");
        assert_eq!(line(&client), first);
        if scheme == "ws" {
            // Two: the server goes on after the first was answered.
            assert_eq!([line(&client), line(&client)], ["ping", "ping"]);
        }
        let second = site.publish(2);
        let received = std::iter::repeat_with(|| line(&client)).find(|line| line != "ping");
        assert_eq!(received, Some(second));
        site.server.signal(Signal::TERM).expect("it runs");
        let closed = std::iter::repeat_with(|| line(&client)).find(|line| line != "ping");
        assert_eq!(closed.as_deref(), Some("closed 1001"));
    }
}
