//! The live pages, compiled into the server: they load nothing from anywhere else.

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;

/// Replaced in every page by the UDP port of WebTransport, which a page can't know otherwise.
const PORT_MARK: &str = "{{webtransport_port}}";

/// What all pages share; each fills its marks.
const FRAME: &str = include_str!("../../pages/frame.html");
/// The content of every page that subscribes.
const STREAMS: &str = include_str!("../../pages/streams.html");
const OVERVIEW: &str = include_str!("../../pages/overview.html");

/// What sets a page apart from the others.
struct Page {
    path: &'static str,
    /// How the others link to it.
    link: &'static str,
    content: Content,
}

/// What stands in a page.
enum Content {
    /// All games at a glance, and the way to everything else.
    Overview,
    /// Panels of these streams, with what is to be said of them (HTML).
    Streams(&'static str, &'static str),
}

/// The pages, in the order of their navigation.
const PAGES: [Page; 5] = [
    Page { path: "/", link: "Overview", content: Content::Overview },
    Page {
        path: "/websocket.html",
        link: "WebSocket",
        content: Content::Streams(
            "ws",
            "One text frame a round. The page reconnects by itself: at random within a time that doubles with each failure, \
             up to 30 s.",
        ),
    },
    Page {
        path: "/sse.html",
        link: "Server-Sent Events",
        content: Content::Streams(
            "sse",
            "One event a round, over plain HTTP. The browser itself reconnects.",
        ),
    },
    Page {
        path: "/webtransport.html",
        link: "WebTransport",
        content: Content::Streams(
            "wt-stream wt-streams wt-datagram",
            "HTTP/3 sessions, with each of the three deliveries: one stream, a stream a round, a datagram a round.",
        ),
    },
    Page {
        path: "/test.html",
        link: "Side by side",
        content: Content::Streams(
            "ws sse wt-stream wt-streams wt-datagram",
            "The same rounds on every protocol. <em>Latency</em> is the median from a round's own timestamp to its arrival \
             in this page, <em>after first</em> how much later than the fastest stream a round arrived, <em>missed</em> how \
             many rounds others had and this stream has not. What a browser shows is a hint; a measurement is \
             <code>lastmile run</code>.",
        ),
    },
];

impl Page {
    /// The whole page, but for [`PORT_MARK`].
    fn html(&self) -> String {
        let (title, heading, script, live, main) = match self.content {
            Content::Overview => (
                "lastmile".to_owned(),
                "lastmile",
                "overview.js",
                "The live part of these pages needs",
                OVERVIEW.to_owned(),
            ),
            Content::Streams(streams, about) => (
                format!("{} · lastmile", self.link),
                self.link,
                "live.js",
                "These pages need",
                STREAMS.replace("{{about}}", about).replace("{{streams}}", streams),
            ),
        };
        let navigation: Vec<String> = PAGES
            .iter()
            .map(|page| {
                let current = if page.path == self.path { " aria-current=\"page\"" } else { "" };
                format!("      <a href=\"{}\"{current}>{}</a>", page.path, page.link)
            })
            .collect();
        FRAME
            .replace("{{title}}", &title)
            .replace("{{heading}}", heading)
            .replace("{{script}}", script)
            .replace("{{navigation}}", &navigation.join("\n"))
            .replace("{{main}}", main.trim_end())
            .replace("{{noscript}}", &format!("{live} JavaScript: it is what subscribes."))
    }
}

/// Path, media type and content of what the pages share.
const ASSETS: [(&str, &str, &str); 5] = [
    ("/assets/live.css", "text/css; charset=utf-8", include_str!("../../pages/live.css")),
    ("/assets/live.js", SCRIPT, include_str!("../../pages/live.js")),
    ("/assets/meter.js", SCRIPT, include_str!("../../pages/meter.js")),
    ("/assets/overview.js", SCRIPT, include_str!("../../pages/overview.js")),
    ("/assets/streams.js", SCRIPT, include_str!("../../pages/streams.js")),
];

const HTML: &str = "text/html; charset=utf-8";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The routes of the pages and of what they share.
pub(super) fn router<S: Clone + Send + Sync + 'static>(webtransport_port: u16) -> Router<S> {
    // Connections go to this server alone: its own origin, that origin's WebSockets (which older browsers don't
    // count as the same), and its WebTransport port.
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
         connect-src 'self' ws: wss: https://*:{webtransport_port}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let pages = PAGES.iter().map(|page| (page.path, HTML, page.html()));
    let assets = ASSETS.into_iter().map(|(path, media_type, content)| (path, media_type, content.to_owned()));
    pages.chain(assets).fold(Router::new(), |router, (path, media_type, content)| {
        let content = Bytes::from(content.replace(PORT_MARK, &webtransport_port.to_string()));
        let headers = [
            ("content-type", media_type.to_owned()),
            ("content-security-policy", policy.clone()),
            ("cache-control", "no-cache".to_owned()),
            ("x-content-type-options", "nosniff".to_owned()),
            ("referrer-policy", "no-referrer".to_owned()),
            ("cross-origin-opener-policy", "same-origin".to_owned()),
            ("permissions-policy", "camera=(), microphone=(), geolocation=()".to_owned()),
        ];
        router.route(path, get(move || async move { (headers, content).into_response() }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_the_frame_filled_with_its_own() {
        for page in &PAGES {
            let html = page.html();
            let marks = html.replace(PORT_MARK, "").matches("{{").count();
            assert_eq!(marks, 0, "{}: a mark is left", page.path);
            let current = format!("<a href=\"{}\" aria-current=\"page\">{}</a>", page.path, page.link);
            assert!(html.contains(&current) && html.matches("aria-current").count() == 1, "{}", page.path);
            assert_eq!(html.matches("<main>").count(), 1, "{}", page.path);
            if let Content::Streams(streams, _) = page.content {
                assert!(html.contains(&format!("data-streams=\"{streams}\"")), "{}", page.path);
            }
        }
    }
}
