//! What the page carries besides what it shows: the result itself, packed, and the hash that lets its script run.

use std::io::BufWriter;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// A value as JSON without spaces, compressed (zlib), behind base64: what every browser unpacks by itself.
///
/// # Panics
/// Never: all keys of our values are field names, no field refuses to be written, and a vector takes everything.
pub fn packed(value: &impl Serialize) -> String {
    let mut encoder =
        BufWriter::with_capacity(64 * 1024, ZlibEncoder::new(Vec::new(), Compression::default()));
    serde_json::to_writer(&mut encoder, value).expect("plain fields always serialize");
    let encoder = encoder.into_inner().expect("a vector takes everything");
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
        let value = vec![("µ", "—</script>"); 1_000];
        let text = serde_json::to_string(&value).expect("serializes");
        let packed = packed(&value);
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
