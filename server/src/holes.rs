//! What the database is known to lack, where this server is the one that stores: rounds that `--persist` had no room for
//! while it was away, and those that were published while Redis could not be heard. Two rounds beside each other there are
//! no proof that nothing was published between them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::catalog::GameIndex;

/// Holes remembered of a game: one for each time that the database was away for too long.
const MAX_HOLES: usize = 256;

/// See the module's documentation. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Holes(Arc<Mutex<Vec<OfGame>>>);

#[derive(Debug, Clone, Default)]
struct OfGame {
    /// The newest round that there was room for.
    newest: Option<u64>,
    /// There was none for one that came after it.
    is_open: bool,
    /// The rounds on both sides of each hole, oldest first.
    holes: VecDeque<(u64, u64)>,
}

impl Holes {
    /// There was room for a round: it will be in the database.
    pub fn note_kept(&self, game: GameIndex, round_id: u64) {
        self.of_game(game, |of_game| {
            if let (Some(before), true) = (of_game.newest, of_game.is_open) {
                of_game.holes.push_back((before, round_id));
                if of_game.holes.len() > MAX_HOLES {
                    of_game.holes.pop_front();
                }
            }
            (of_game.newest, of_game.is_open) = (Some(round_id), false);
        });
    }

    /// There was none.
    pub fn note_dropped(&self, game: GameIndex) {
        self.of_game(game, |of_game| of_game.is_open = true);
    }

    /// Rounds may have been published that nobody here has seen.
    pub fn interrupt(&self) {
        let mut games = self.games();
        games.iter_mut().for_each(|of_game| of_game.is_open = true);
    }

    /// Whether a hole lies between two rounds that have nothing between them in the database.
    pub fn are_between(&self, game: GameIndex, from: u64, to: u64) -> bool {
        self.of_game(game, |of_game| {
            of_game.holes.iter().any(|(before, behind)| from <= *before && *behind <= to)
        })
    }

    fn games(&self) -> MutexGuard<'_, Vec<OfGame>> {
        // Nothing behind the lock can be left half done: a panic elsewhere is no reason to stop.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_game<T>(&self, game: GameIndex, note: impl FnOnce(&mut OfGame) -> T) -> T {
        let mut games = self.games();
        if games.len() <= game.index() {
            games.resize(game.index() + 1, OfGame::default());
        }
        note(&mut games[game.index()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    #[test]
    fn a_hole_lies_between_the_last_before_it_and_the_first_behind_it() {
        let catalog = Catalog::new(["crash", "double"].map(|slug| (slug.to_owned(), "any".to_owned())));
        let [game, other] = ["crash", "double"].map(|slug| catalog.game(slug).expect("a game"));
        let holes = Holes::default();
        for id in [1, 2] {
            holes.note_kept(game, id);
        }
        for _ in 3..=8 {
            holes.note_dropped(game);
        }
        assert!(!holes.are_between(game, 2, 100), "it has no end yet");
        for id in [9, 10] {
            holes.note_kept(game, id);
        }
        let found = [(1, 2), (2, 9), (1, 10), (9, 10), (2, 8), (3, 9)]
            .map(|(from, to)| holes.are_between(game, from, to));
        assert_eq!(found, [false, true, true, false, false, false]);
        assert!(!holes.are_between(other, 2, 9));
        holes.interrupt();
        holes.note_kept(game, 20);
        assert!(holes.are_between(game, 10, 20));
        for id in 0..2 * MAX_HOLES as u64 {
            holes.note_kept(other, 2 * id);
            holes.note_dropped(other);
        }
        assert_eq!(holes.of_game(other, |of_game| of_game.holes.len()), MAX_HOLES);
    }
}
