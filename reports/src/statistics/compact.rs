//! A latency in two bytes: the number of its bucket in a latency histogram, so that nothing is lost that the
//! histogram would have kept.

/// Stands where a subscriber has not received a message.
pub const UNRECEIVED: u16 = u16::MAX;

/// Buckets below this many nanoseconds are one nanosecond wide; above, a power of two more of them every doubling.
const SUB_BUCKETS: u64 = 2_048;
const HALF: u64 = SUB_BUCKETS / 2;
const HALF_BITS: u32 = HALF.ilog2();

/// The bucket of a latency of at most [`HIGHEST_LATENCY_NS`](crate::histogram::HIGHEST_LATENCY_NS).
///
/// The layout is `HdrHistogram`'s for three significant digits from 1 ns on.
#[inline]
pub fn code_of(latency_ns: u64) -> u16 {
    let bucket = (latency_ns | (SUB_BUCKETS - 1)).ilog2() - HALF_BITS;
    let within = latency_ns >> bucket;
    (u64::from(bucket) * HALF + within) as u16
}

/// The largest latency in nanoseconds that has this code: what the histogram tells as the value of the bucket.
pub fn latency_ns(code: u16) -> u64 {
    let code = u64::from(code);
    if code < SUB_BUCKETS {
        return code;
    }
    let bucket = code / HALF - 1;
    let within = code % HALF + HALF;
    (within << bucket) + (1 << bucket) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::{HIGHEST_LATENCY_NS, new_latency_histogram};
    use proptest::prelude::*;

    #[test]
    fn the_ends_of_the_range_have_codes_of_their_own() {
        assert_eq!((code_of(0), latency_ns(0)), (0, 0));
        assert_eq!((code_of(2_047), code_of(2_048)), (2_047, 2_048));
        assert!(code_of(HIGHEST_LATENCY_NS) < UNRECEIVED);
    }

    proptest! {
        #[test]
        fn a_code_is_the_bucket_of_the_histogram(
            latency in (0_u32..40).prop_flat_map(|bits| 0..=(1_u64 << bits).min(HIGHEST_LATENCY_NS)),
        ) {
            let histogram = new_latency_histogram();
            prop_assert_eq!(latency_ns(code_of(latency)), histogram.highest_equivalent(latency));
        }

        #[test]
        fn codes_are_ordered_as_latencies_are(one in 0..=HIGHEST_LATENCY_NS, other in 0..=HIGHEST_LATENCY_NS) {
            prop_assert!(one > other || code_of(one) <= code_of(other));
        }
    }
}
