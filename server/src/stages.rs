//! When single rounds arrived and were written, for a load generator on the same host that asks for it (`--stages`):
//! `GET /debug/stages?after=N`. Times are `CLOCK_MONOTONIC` in nanoseconds, so they compare with the generator's.
//!
//! The message on the wire stays what it is. Rounds are noted in a ring that is allocated at start: once when they
//! arrive, once for every few members they are written to, and never where the flag was not given.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

/// Rounds remembered: 2 MiB, and more than most measured windows publish.
const ROUNDS: usize = 1 << 16;
/// Rounds told at once.
const ROUNDS_AN_ANSWER: u64 = 8_192;
/// How far back a round is looked for that was just written. One that waited for longer is not noted again.
const FARTHEST_BACK: u64 = 4_096;

/// The latest rounds' times. Written by ingest, one round at a time, and by the shards; read by whoever asks.
#[derive(Debug)]
pub struct StageRing {
    places: Box<[Place]>,
    /// Rounds noted so far.
    next: AtomicU64,
}

#[derive(Debug)]
struct Place {
    round_id: AtomicU64,
    ingested_ns: AtomicU64,
    /// `u64::MAX` until it is written.
    first_write_ns: AtomicU64,
    /// 0 until it is written.
    last_write_ns: AtomicU64,
}

impl Default for StageRing {
    fn default() -> Self {
        Self::with_room_for(ROUNDS)
    }
}

impl StageRing {
    fn with_room_for(rounds: usize) -> Self {
        let place = || Place {
            round_id: AtomicU64::new(0),
            ingested_ns: AtomicU64::new(0),
            first_write_ns: AtomicU64::new(u64::MAX),
            last_write_ns: AtomicU64::new(0),
        };
        Self { places: (0..rounds).map(|_| place()).collect(), next: AtomicU64::new(0) }
    }

    fn place(&self, number: u64) -> &Place {
        &self.places[(number % self.places.len() as u64) as usize]
    }

    /// A round arrived. To be called by one thread, before the round is handed to the shards.
    pub fn note_ingested(&self, round_id: u64, ingested_ns: u64) {
        let number = self.next.load(Ordering::Relaxed);
        let place = self.place(number);
        place.round_id.store(round_id, Ordering::Relaxed);
        place.first_write_ns.store(u64::MAX, Ordering::Relaxed);
        place.last_write_ns.store(0, Ordering::Relaxed);
        place.ingested_ns.store(ingested_ns, Ordering::Relaxed);
        self.next.store(number + 1, Ordering::Release);
    }

    /// The round that arrived at `ingested_ns` was written to some members, beginning and ending then.
    pub fn note_written(&self, ingested_ns: u64, begun_ns: u64, ended_ns: u64) {
        let next = self.next.load(Ordering::Acquire);
        let oldest = next.saturating_sub(FARTHEST_BACK.min(self.places.len() as u64));
        // Mostly the newest one. Arrivals rise: what arrived before it is not behind it.
        for number in (oldest..next).rev() {
            let place = self.place(number);
            let found_ns = place.ingested_ns.load(Ordering::Relaxed);
            if found_ns < ingested_ns {
                return;
            }
            if found_ns == ingested_ns {
                place.first_write_ns.fetch_min(begun_ns, Ordering::Relaxed);
                place.last_write_ns.fetch_max(ended_ns, Ordering::Relaxed);
            }
        }
    }

    /// The rounds from number `after` on as far as they are remembered, one a line: identifier, arrival, first write,
    /// last write, the latter two 0 where there was none. The first line tells the number to go on with.
    fn tell(&self, after: u64) -> String {
        let next = self.next.load(Ordering::Acquire);
        let from = after.max(next.saturating_sub(self.places.len() as u64)).min(next);
        let to = next.min(from + ROUNDS_AN_ANSWER);
        let mut text = format!("next {to}\n");
        for number in from..to {
            let place = self.place(number);
            let [round_id, ingested_ns, first_ns, last_ns] =
                [&place.round_id, &place.ingested_ns, &place.first_write_ns, &place.last_write_ns]
                    .map(|time| time.load(Ordering::Relaxed));
            let first_ns = if first_ns == u64::MAX { 0 } else { first_ns };
            // Writing into a `String` never fails.
            let _ = writeln!(text, "{round_id} {ingested_ns} {first_ns} {last_ns}");
        }
        text
    }
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

/// The route that tells the ring; none where there is no ring.
pub fn router(ring: Option<Arc<StageRing>>) -> Router {
    match ring {
        None => Router::new(),
        Some(ring) => Router::new().route("/debug/stages", get(stages)).with_state(ring),
    }
}

async fn stages(State(ring): State<Arc<StageRing>>, Query(After { after }): Query<After>) -> Response {
    ([("content-type", "text/plain; charset=utf-8")], ring.tell(after)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_told_with_its_first_and_its_last_write() {
        let ring = StageRing::with_room_for(4);
        ring.note_ingested(7, 100);
        ring.note_ingested(8, 200);
        ring.note_written(100, 210, 220);
        ring.note_written(100, 205, 215);
        // Nobody noted that one.
        ring.note_written(150, 1, 1);
        assert_eq!(ring.tell(0), "next 2\n7 100 205 220\n8 200 0 0\n");
        assert_eq!(ring.tell(1), "next 2\n8 200 0 0\n");
        assert_eq!((ring.tell(2), ring.tell(99)), ("next 2\n".into(), "next 2\n".into()));
    }

    #[test]
    fn what_is_long_past_is_forgotten_and_its_late_writes_go_nowhere() {
        let ring = StageRing::with_room_for(4);
        for round in 1..=6 {
            ring.note_ingested(round, round * 10);
        }
        ring.note_written(20, 70, 71);
        ring.note_written(60, 80, 81);
        assert_eq!(ring.tell(0), "next 6\n3 30 0 0\n4 40 0 0\n5 50 0 0\n6 60 80 81\n");
    }

    #[test]
    fn many_rounds_are_told_in_several_answers() {
        let ring = StageRing::default();
        for round in 0..ROUNDS_AN_ANSWER + 5 {
            ring.note_ingested(round, round + 1);
        }
        let first = ring.tell(0);
        assert!(first.starts_with("next 8192\n"));
        assert_eq!(first.lines().count() as u64, 1 + ROUNDS_AN_ANSWER);
        assert_eq!(ring.tell(8_192).lines().count(), 6);
    }
}
