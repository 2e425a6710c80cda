//! Where a running server is found.

use std::net::SocketAddr;

use serde_json::Value;

/// Addresses of a server, in this process or another.
#[derive(Debug, Clone)]
pub struct Place {
    pub http: SocketAddr,
    pub webtransport: SocketAddr,
    /// HTTP is encrypted.
    pub tls: bool,
    /// SHA-256 of its certificate: what clients trust it by.
    pub certificate: [u8; 32],
}

impl Place {
    /// Reads the line that a server prints when it is ready.
    pub fn of_ready_line(line: &str) -> Self {
        let ready: Value = serde_json::from_str(line).expect("the ready line is JSON");
        assert_eq!(ready["ready"], true, "{line}");
        let address = |name: &str| ready[name].as_str().expect(name).parse().expect(name);
        Self {
            http: address("http"),
            webtransport: address("webtransport"),
            tls: ready["tls"].as_bool().expect("tls"),
            certificate: digest(ready["certificate_sha256"].as_str().expect("a digest")),
        }
    }
}

fn digest(hexadecimal: &str) -> [u8; 32] {
    assert_eq!(hexadecimal.len(), 64, "a SHA-256 digest");
    std::array::from_fn(|at| {
        u8::from_str_radix(&hexadecimal[2 * at..2 * at + 2], 16).expect("hexadecimal digits")
    })
}
