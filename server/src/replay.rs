//! What a game's subscribers may have missed: its last rounds, for those who come back and say what they had.
//!
//! Only published bytes are kept, no frames: the bound on bytes is what is really held.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::GameIndex;
use crate::published::Published;

/// The part of a full ring that counts as its old end: a quarter.
const OLD_END: usize = 4;

/// How much is kept for each game. The latest round is kept whatever its size.
#[derive(Debug, Clone, Copy)]
pub struct ReplayLimits {
    /// Rounds.
    pub rounds: usize,
    /// Bytes of their payloads.
    pub bytes: usize,
}

impl Default for ReplayLimits {
    fn default() -> Self {
        Self { rounds: 1024, bytes: 1 << 20 }
    }
}

/// The last rounds of a game, oldest first.
#[derive(Debug, Default)]
pub struct Ring {
    kept: VecDeque<Kept>,
    bytes: usize,
    /// The place of the last round that had to go.
    forgotten: Option<u64>,
    /// Rounds may have been published since the last one that nobody here has seen.
    interrupted: bool,
}

#[derive(Debug)]
struct Kept {
    /// Rises with every round of every game.
    place: u64,
    round_id: u64,
    ingested_ns: u64,
    payload: Bytes,
    follows_interruption: bool,
}

impl Ring {
    /// Keeps a round, and forgets what is too much then.
    pub fn push(&mut self, place: u64, round: &Published, limits: ReplayLimits) {
        self.bytes += round.payload().len();
        self.kept.push_back(Kept {
            place,
            round_id: round.round_id(),
            ingested_ns: round.ingested_ns(),
            payload: round.payload().clone(),
            follows_interruption: std::mem::take(&mut self.interrupted),
        });
        while self.kept.len() > 1 && (self.kept.len() > limits.rounds || self.bytes > limits.bytes) {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.payload.len();
            self.forgotten = Some(oldest.place);
        }
    }

    /// The connection to the publisher was lost: what it published until it is back is not known.
    pub fn interrupt(&mut self) {
        self.interrupted = !self.kept.is_empty();
    }

    /// The place of a round that is kept.
    fn place_of(&self, round_id: u64) -> Option<u64> {
        self.kept.iter().rev().find(|kept| kept.round_id == round_id).map(|kept| kept.place)
    }
}

/// Rounds of a game that a ring has forgotten, from elsewhere.
#[derive(Debug)]
pub struct Older {
    /// The game.
    pub game: GameIndex,
    /// The rounds, oldest first, and notices of what is known to be missing between two of them.
    pub rounds: Vec<Arc<Published>>,
    /// Nothing is missing between the round asked from and the first of these.
    pub is_whole: bool,
}

/// The games of which not everything behind the round `since` is kept, or not for much longer, each with a round that is still kept and up to
/// which older ones are wanted: not the first, which may be forgotten until they are there.
pub fn forgotten_since(rings: &[(GameIndex, &Ring)], since: u64) -> Vec<(GameIndex, u64)> {
    let found = rings.iter().find_map(|(_, ring)| ring.place_of(since));
    // What a full ring keeps at its old end may be forgotten until the client is attached.
    let old_end = |ring: &Ring| {
        ring.forgotten.and_then(|_| Some(ring.kept.get(ring.kept.len() / OLD_END)?.place)).unwrap_or_default()
    };
    let is_cut = |ring: &Ring| match found {
        Some(place) => place < old_end(ring),
        None => ring.kept.front().is_some_and(|first| first.round_id > since),
    };
    let middle = |ring: &Ring| Some(ring.kept.get(ring.kept.len() / 2)?.round_id);
    rings
        .iter()
        .filter(|(_, ring)| is_cut(ring))
        .filter_map(|(game, ring)| middle(ring).map(|to| (*game, to)))
        .collect()
}

/// What follows the round `since` in these games, in the order of publishing; where something is missing that is not
/// among `older` either, a gap's notice stands in its place.
pub fn replay(rings: &[(GameIndex, &Ring)], since: u64, older: &[Older]) -> Vec<Arc<Published>> {
    let found = rings.iter().find_map(|(_, ring)| ring.place_of(since));
    // A round that is not kept was published before all that is, or elsewhere: then identifiers, which rise,
    // tell what is new.
    let is_new = |kept: &Kept| found.map_or(kept.round_id > since, |place| kept.place > place);
    let is_ahead = !rings.iter().any(|(_, ring)| ring.kept.iter().any(is_new)) && found.is_none();
    let mut replayed: Vec<(u64, Arc<Published>)> = Vec::new();
    let mut past: Vec<(u64, Arc<Published>)> = Vec::new();
    for &(game, ring) in rings {
        let mut last_id = since;
        // Whoever is ahead of everything kept gets the latest rounds, and is told that they do not follow.
        let first = ring.kept.len().checked_sub(1).filter(|_| is_ahead);
        let first = first.or_else(|| ring.kept.iter().position(is_new));
        for (index, kept) in ring.kept.iter().enumerate().skip(first.unwrap_or(ring.kept.len())) {
            let begins = Some(index) == first;
            let is_cut = begins
                && match found {
                    Some(place) => ring.forgotten.is_some_and(|forgotten| forgotten > place),
                    None => is_ahead || index == 0,
                };
            let mut is_missing = is_cut || kept.follows_interruption;
            if is_cut && let Some(older) = older.iter().find(|older| older.game == game) {
                let before = older.rounds.partition_point(|round| round.round_id() < kept.round_id);
                let mut is_whole = older.is_whole;
                for round in &older.rounds[..before] {
                    if !is_whole {
                        past.push((
                            round.round_id(),
                            Arc::new(Published::gap(game, last_id, round.round_id())),
                        ));
                        is_whole = true;
                    }
                    past.push((round.round_id(), Arc::clone(round)));
                    last_id = round.round_id();
                }
                // Both know the round where they meet, so nothing lies in between.
                let meets = older
                    .rounds
                    .get(before)
                    .is_some_and(|round| round.round_id() == kept.round_id && !round.is_gap());
                is_missing = !(meets && is_whole) || kept.follows_interruption;
            }
            if is_missing {
                let notice = Published::gap(game, last_id, kept.round_id);
                replayed.push((kept.place, Arc::new(notice)));
            }
            let round = Published::new(game, kept.round_id, kept.payload.clone(), kept.ingested_ns);
            replayed.push((kept.place, Arc::new(round)));
            last_id = kept.round_id;
        }
    }
    // Stable: a notice stays before the round it belongs to.
    past.sort_by_key(|(round_id, _)| *round_id);
    replayed.sort_by_key(|(place, _)| *place);
    past.into_iter().chain(replayed).map(|(_, round)| round).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    fn games() -> [GameIndex; 2] {
        let catalog =
            Catalog::new(["crash", "aviator"].map(|slug| (slug.to_owned(), "multiplier".to_owned())));
        ["crash", "aviator"].map(|slug| catalog.game(slug).expect("a game"))
    }

    /// A ring of so many rounds at most, with these places and identifiers.
    fn ring(rounds: usize, ids: &[(u64, u64)]) -> Ring {
        let mut ring = Ring::default();
        for (place, id) in ids {
            let round = Published::new(games()[0], *id, Bytes::from(id.to_string()), 0);
            ring.push(*place, &round, ReplayLimits { rounds, bytes: 1000 });
        }
        ring
    }

    fn replayed(rings: &[&Ring], since: u64) -> Vec<String> {
        let rings: Vec<_> = games().into_iter().zip(rings.iter().copied()).collect();
        let text = |round: &Arc<Published>| String::from_utf8(round.payload().to_vec()).expect("text");
        replay(&rings, since, &[]).iter().map(text).collect()
    }

    #[test]
    fn what_a_ring_has_forgotten_comes_from_elsewhere_and_what_nobody_has_is_told() {
        let [game, other] = games();
        let published = |id: u64| Arc::new(Published::new(game, id, Bytes::from(id.to_string()), 0));
        let ring = ring(2, &[(1, 1), (3, 3), (5, 5), (6, 6)]);
        let empty = Ring::default();
        let rings = [(game, &ring), (other, &empty)];
        assert_eq!(forgotten_since(&rings, 1), [(game, 6)]);
        assert_eq!(forgotten_since(&rings, 0), [(game, 6)]);
        assert!(forgotten_since(&rings, 5).is_empty() && forgotten_since(&rings, 9).is_empty());
        let with = |ids: &[u64], is_whole: bool| -> Vec<String> {
            let older = Older { game, rounds: ids.iter().copied().map(published).collect(), is_whole };
            let text = |round: &Arc<Published>| String::from_utf8(round.payload().to_vec()).expect("text");
            replay(&rings, 1, &[older]).iter().map(text).collect()
        };
        let gap = |from: u64, to: u64| format!(r#"{{"gap":{{"from":{from},"to":{to}}}}}"#);
        assert_eq!(with(&[3, 5, 6], true), ["3", "5", "6"]);
        assert_eq!(with(&[5, 6], true), ["5", "6"], "nothing was between 1 and 5");
        assert_eq!(with(&[3, 5, 6], false), [&gap(1, 3), "3", "5", "6"]);
        assert_eq!(with(&[3], true), ["3", &gap(3, 5), "5", "6"], "it may not have 4 yet");
        assert_eq!(with(&[5, 6], false), [&gap(1, 5), "5", "6"]);
        assert_eq!(with(&[], true), [&gap(1, 5), "5", "6"]);
        // Notices of the database's own holes, also where they end with the first round that is kept.
        let with_hole = |from: u64, to: u64, behind: &[u64]| -> Vec<String> {
            let mut rounds: Vec<_> = [2, 3].into_iter().filter(|id| *id <= from).map(published).collect();
            rounds.push(Arc::new(Published::gap(game, from, to)));
            rounds.extend(behind.iter().copied().map(published));
            let text = |round: &Arc<Published>| String::from_utf8(round.payload().to_vec()).expect("text");
            replay(&rings, 1, &[Older { game, rounds, is_whole: true }]).iter().map(text).collect()
        };
        assert_eq!(with_hole(2, 4, &[4, 5, 6]), ["2", &gap(2, 4), "4", "5", "6"]);
        assert_eq!(with_hole(3, 5, &[5, 6]), ["2", "3", &gap(3, 5), "5", "6"]);
    }

    #[test]
    fn what_is_about_to_be_forgotten_is_asked_for_in_time() {
        let [game, _] = games();
        let wanted = |ring: &Ring, since: u64| forgotten_since(&[(game, ring)], since);
        let full = ring(8, &(1..=12).map(|id| (id, id)).collect::<Vec<_>>());
        for since in [1, 4, 5, 6] {
            assert_eq!(wanted(&full, since), [(game, 9)], "{since}: two more rounds, and 7 is the first");
        }
        for since in [7, 8, 12, 13] {
            assert_eq!(wanted(&full, since), [], "{since}");
        }
        let ring = ring(20, &(1..=12).map(|id| (id, id)).collect::<Vec<_>>());
        assert_eq!(wanted(&ring, 1), [], "there is room left");
    }

    #[test]
    fn what_follows_a_kept_round_comes_in_publish_order_and_what_is_missing_is_told() {
        let crash = ring(3, &[(1, 1), (3, 3), (5, 5), (6, 6)]);
        let aviator = ring(3, &[(2, 2), (4, 4)]);
        assert_eq!(replayed(&[&crash], 3), ["5", "6"]);
        assert_eq!(replayed(&[&crash], 6), [""; 0]);
        assert_eq!(replayed(&[&crash], 1), [r#"{"gap":{"from":1,"to":3}}"#, "3", "5", "6"]);
        assert_eq!(replayed(&[&crash], 9), [r#"{"gap":{"from":9,"to":6}}"#, "6"]);
        assert_eq!(replayed(&[&crash, &aviator], 3), ["4", "5", "6"]);
        assert_eq!(replayed(&[&crash, &aviator], 2), ["3", "4", "5", "6"], "round 1 was not asked for");
        assert_eq!(replayed(&[&ring(2, &[(1, 1), (3, 3), (5, 5)]), &aviator], 2), ["3", "4", "5"]);
        assert_eq!(
            replayed(&[&ring(1, &[(1, 1), (3, 3), (5, 5)]), &aviator], 2),
            ["4", r#"{"gap":{"from":2,"to":5}}"#, "5"]
        );
    }

    #[test]
    fn an_interruption_is_told_where_it_was() {
        let mut ring = ring(9, &[(1, 1), (2, 2)]);
        ring.interrupt();
        assert_eq!(replayed(&[&ring], 2), [""; 0]);
        let round = Published::new(games()[0], 7, Bytes::from_static(b"7"), 0);
        ring.push(3, &round, ReplayLimits::default());
        assert_eq!(replayed(&[&ring], 1), ["2", r#"{"gap":{"from":2,"to":7}}"#, "7"]);
        assert_eq!(replayed(&[&ring], 7), [""; 0]);
    }

    #[test]
    fn bytes_are_bounded_but_the_latest_round_stays() {
        let mut ring = Ring::default();
        for id in 1..=3 {
            let round = Published::new(games()[0], id, Bytes::from(vec![b'x'; 60]), 0);
            ring.push(id, &round, ReplayLimits { rounds: 9, bytes: 50 });
            assert_eq!((ring.kept.len(), ring.bytes), (1, 60));
        }
    }
}
