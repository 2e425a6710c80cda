//! Latency histograms as they are recorded and as they stand in a result: nanoseconds, three significant
//! digits, `HdrHistogram`'s V2 compressed format behind base64, so that any `HdrHistogram` tool reads them.

use std::io::{self, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{
    DeserializeError, Deserializer, Serializer, V2DeflateSerializeError, V2DeflateSerializer,
};

/// The smallest latency a histogram of [`new_latency_histogram`] tells apart from zero.
pub const LOWEST_LATENCY_NS: u64 = 1;
/// The largest latency to record. A larger one belongs into `out_of_range`, not into the histogram.
pub const HIGHEST_LATENCY_NS: u64 = 600_000_000_000;
/// Significant decimal digits kept of every latency.
pub const SIGNIFICANT_DIGITS: u8 = 3;

/// Why a histogram could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum HistogramError {
    /// The histogram has a count that the format can't hold.
    #[error("the histogram can't be written: {0}")]
    Encode(#[from] V2DeflateSerializeError),
    /// The text is not base64.
    #[error("the histogram is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// The bytes are not a histogram.
    #[error("the histogram can't be read: {0}")]
    Decode(#[from] DeserializeError),
    /// The bytes can't be unpacked.
    #[error("the histogram can't be unpacked: {0}")]
    Unpack(#[from] io::Error),
    /// The bytes claim to hold more than any histogram of latencies does.
    #[error("the histogram is damaged: it claims {claimed} bytes, {held} are there")]
    Damaged {
        /// Bytes the header claims.
        claimed: u64,
        /// Bytes there are.
        held: u64,
    },
}

/// The first bytes of the uncompressed and of the compressed format.
const PLAIN_COOKIE: [u8; 4] = [0x1c, 0x84, 0x93, 0x13];
const COMPRESSED_COOKIE: [u8; 4] = [0x1c, 0x84, 0x93, 0x14];
/// What stands before the counts of the uncompressed format; its second word is the length of the counts.
const HEADER_BYTES: usize = 40;
/// No histogram of latencies is larger than this when unpacked; one of the widest range at five digits is not.
const LARGEST_UNPACKED_BYTES: u64 = 64 << 20;

/// An empty latency histogram: 1 ns to 600 s, three significant digits.
///
/// The range is fixed: histograms of one layout add up cheaply, and a value beyond the range is an oddity that
/// the recorder counts instead of a reason to grow.
///
/// # Panics
/// Never: the layout is constant and valid, which the tests hold.
pub fn new_latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LOWEST_LATENCY_NS, HIGHEST_LATENCY_NS, SIGNIFICANT_DIGITS)
        .expect("1 ns to 600 s at three digits is a valid layout")
}

/// Writes a histogram as V2 compressed, base64.
///
/// # Errors
/// [`HistogramError::Encode`] where a count is beyond what the format holds (2⁶³).
pub fn encode(histogram: &Histogram<u64>) -> Result<String, HistogramError> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes)?;
    Ok(STANDARD.encode(bytes))
}

/// Reads what [`encode`] or any other `HdrHistogram` tool wrote (V2, compressed or not, behind base64).
///
/// # Errors
/// Every other [`HistogramError`], for text that is not a histogram.
pub fn decode(text: &str) -> Result<Histogram<u64>, HistogramError> {
    let bytes = unpack(STANDARD.decode(text.trim())?)?;
    // The decoder reserves what the header claims before it reads: a damaged result could ask for gigabytes.
    if bytes.starts_with(&PLAIN_COOKIE) && bytes.len() >= HEADER_BYTES {
        let claimed = u64::from(u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]));
        let held = (bytes.len() - HEADER_BYTES) as u64;
        if claimed > held {
            return Err(HistogramError::Damaged { claimed, held });
        }
    }
    let mut histogram: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice())?;
    histogram.auto(false);
    Ok(histogram)
}

/// The uncompressed format of either; what is neither stays as it is, for the decoder to refuse.
fn unpack(bytes: Vec<u8>) -> Result<Vec<u8>, HistogramError> {
    if !bytes.starts_with(&COMPRESSED_COOKIE) || bytes.len() < 8 {
        return Ok(bytes);
    }
    let mut unpacked = Vec::new();
    ZlibDecoder::new(&bytes[8..]).take(LARGEST_UNPACKED_BYTES).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_range_is_fixed() {
        let mut histogram = new_latency_histogram();
        assert!(!histogram.is_auto_resize());
        histogram.record(HIGHEST_LATENCY_NS).expect("the end of the range is inside");
        // The layout rounds the range up to a power of two of its buckets; twice the range is surely outside.
        assert!(histogram.record(2 * HIGHEST_LATENCY_NS).is_err());
    }

    #[test]
    fn an_empty_histogram_survives() {
        let text = encode(&new_latency_histogram()).expect("encodes");
        assert!(decode(&text).expect("decodes").is_empty());
    }

    #[test]
    fn what_is_no_histogram_is_told() {
        assert!(matches!(decode("not base64!"), Err(HistogramError::Base64(_))));
        assert!(matches!(decode("aGVsbG8gd29ybGQ="), Err(HistogramError::Decode(_))));
        let whole = encode(&new_latency_histogram()).expect("encodes");
        assert!(decode(&whole[..8]).is_err());
        assert!(decode("").is_err());
    }

    #[test]
    fn a_header_that_claims_gigabytes_is_refused_before_they_are_reserved() {
        let mut histogram = new_latency_histogram();
        histogram.record(1_000_000).expect("inside the range");
        let mut plain = unpack(STANDARD.decode(encode(&histogram).expect("encodes")).expect("is base64"))
            .expect("unpacks");
        assert_eq!(plain[..4], PLAIN_COOKIE);
        assert_eq!(decode(&STANDARD.encode(&plain)).expect("the plain format is read too"), histogram);
        plain[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        let error = decode(&STANDARD.encode(&plain)).expect_err("is damaged");
        assert!(matches!(error, HistogramError::Damaged { claimed: 0xffff_ffff, .. }), "{error}");
    }

    proptest! {
        #[test]
        fn round_trip_keeps_every_count(values in prop::collection::vec((0..=HIGHEST_LATENCY_NS, 1_u64..1_000_000), 0..200)) {
            let mut histogram = new_latency_histogram();
            for (value, count) in &values {
                histogram.record_n(*value, *count).expect("inside the range");
            }
            let again = decode(&encode(&histogram).expect("encodes")).expect("decodes");
            prop_assert_eq!(&again, &histogram);
            prop_assert_eq!(again.len(), values.iter().map(|(_, count)| count).sum::<u64>());
            prop_assert!(!again.is_auto_resize());
        }

        #[test]
        fn no_text_makes_decoding_panic(text in "[A-Za-z0-9+/]{0,80}") {
            let _ = decode(&text);
        }
    }
}
