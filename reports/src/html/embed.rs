//! What the page carries besides what it shows: the result itself, packed, and the hash that lets its script run.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha2::{Digest, Sha256};

/// Text compressed (zlib) behind base64, which every browser unpacks by itself.
pub fn packed(text: &str) -> String {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).expect("a vector takes everything");
    STANDARD.encode(encoder.finish().expect("a vector takes everything"))
}

/// The source expression of a content security policy that allows exactly this script.
pub fn script_hash(script: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(script.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::ZlibDecoder;
    use std::io::Read;

    #[test]
    fn what_is_packed_is_unpacked_again() {
        let text = "{\"µ\":\"—</script>\"}".repeat(1_000);
        let packed = packed(&text);
        assert!(packed.len() < text.len() / 10);
        assert!(!packed.contains('<'));
        let bytes = STANDARD.decode(packed).expect("is base64");
        let mut unpacked = String::new();
        ZlibDecoder::new(bytes.as_slice()).read_to_string(&mut unpacked).expect("is zlib");
        assert_eq!(unpacked, text);
    }

    #[test]
    fn the_hash_is_what_browsers_compute() {
        // The hash of `alert('Hello, world.');`, the example of the CSP specification.
        assert_eq!(
            script_hash("alert('Hello, world.');"),
            "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng="
        );
    }
}
