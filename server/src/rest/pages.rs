//! The live pages, compiled into the server: they load nothing from anywhere else.

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;

/// Replaced in every page by the UDP port of WebTransport, which a page can't know otherwise.
const PORT_MARK: &str = "{{webtransport_port}}";

/// Path, media type and content of all files.
const FILES: [(&str, &str, &str); 10] = [
    ("/", HTML, include_str!("../../pages/index.html")),
    ("/websocket.html", HTML, include_str!("../../pages/websocket.html")),
    ("/sse.html", HTML, include_str!("../../pages/sse.html")),
    ("/webtransport.html", HTML, include_str!("../../pages/webtransport.html")),
    ("/test.html", HTML, include_str!("../../pages/test.html")),
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
    FILES.into_iter().fold(Router::new(), |router, (path, media_type, content)| {
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
