//! The search for the highest rate that keeps an objective, without anything that measures: it says what to try next
//! and is told what came of it.
//!
//! From the lower bound the rate doubles until it is not kept, then the gap is halved (by its ratio) until it is below
//! the tolerance, then the highest rate kept is confirmed. On a machine that is shared, one bad moment must not halve
//! the answer, nor one good moment double it: a rate counts as broken only when it is broken twice before it is kept, and as
//! the answer only when every confirmation keeps it. One that does not is broken, and the search goes on below it.
//!
//! A run that is INVALID for reasons of the generator or the machine says nothing of the server: it is neither kept nor
//! broken but refused. A rate that is refused twice bounds the search like a broken one, and the search remembers that it was
//! not the server that ended it.

/// Most rates tried for a protocol.
const MOST_TRIALS: usize = 60;

/// What a search looks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Where it begins, in messages a second.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// It ends when the lowest failed rate is above the highest kept one by this part.
    pub tolerance: f64,
    /// How many further runs have to keep the answer.
    pub confirmations: u32,
}

/// A rate to be tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trial {
    /// In messages a second.
    pub rate: f64,
    /// It was kept before.
    pub is_confirmation: bool,
}

/// What came of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The objective was kept.
    Kept,
    /// It was not.
    Broken,
    /// Nobody can tell: the run is INVALID, and not by the server's doing.
    Refused,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// The highest rate that was kept and confirmed; `None` where none was.
    pub rate: Option<f64>,
    /// It is the upper bound.
    pub is_bounded: bool,
    /// Higher rates were refused: what ended the search is not the server.
    pub is_generator_limit: bool,
}

/// A rate that the search stays below.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Limit {
    rate: f64,
    is_refused: bool,
}

/// A rate that is tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Doubt {
    rate: f64,
    broken: u32,
    refused: u32,
}

/// How often a rate has to be broken, or refused, to count as that.
const TIMES: u32 = 2;

/// A search under way.
#[derive(Debug, Clone)]
pub struct Search {
    bounds: Bounds,
    /// Rates that were kept, ascending.
    kept: Vec<f64>,
    /// The lowest rate that was broken or refused twice.
    limit: Option<Limit>,
    /// The rate that was broken or refused and is tried again.
    doubted: Option<Doubt>,
    /// Confirmations of the highest rate kept.
    confirmed: u32,
    trials: usize,
}

impl Search {
    /// A search that has not begun.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, kept: Vec::new(), limit: None, doubted: None, confirmed: 0, trials: 0 }
    }

    /// What to try next; `None` when the search is over.
    pub fn next(&self) -> Option<Trial> {
        let fresh = |rate| Some(Trial { rate, is_confirmation: false });
        if self.trials >= MOST_TRIALS {
            return None;
        }
        if let Some(doubt) = self.doubted {
            return fresh(doubt.rate);
        }
        let Bounds { from, to, tolerance, confirmations } = self.bounds;
        let next = match (self.kept.last(), self.limit.map(|limit| limit.rate)) {
            (None, None) => return fresh(from),
            // Not even the lower bound.
            (None, Some(_)) => return None,
            (Some(&kept), None) if kept < to => Some((kept * 2.0).min(to)),
            (Some(&kept), Some(limit)) if limit / kept > 1.0 + tolerance => {
                // A rate that can be read and typed; it has to lie between the two.
                let middle = (kept * limit).sqrt();
                Some(rounded(middle)).filter(|rate| *rate > kept && *rate < limit).or(Some(middle))
            }
            (Some(_), _) => None,
        };
        match next {
            Some(rate) => fresh(rate),
            None if self.confirmed < confirmations => {
                self.kept.last().map(|&rate| Trial { rate, is_confirmation: true })
            }
            None => None,
        }
    }

    /// What came of the trial of [`Self::next`].
    pub fn tell(&mut self, trial: Trial, verdict: Verdict) {
        self.trials += 1;
        if verdict != Verdict::Kept {
            return self.doubt(trial.rate, verdict);
        }
        self.doubted = None;
        // One that is repeated because a confirmation of it was in doubt confirms it, too.
        if trial.is_confirmation || self.kept.last() == Some(&trial.rate) {
            self.confirmed += 1;
        } else {
            self.kept.push(trial.rate);
            self.confirmed = 0;
        }
    }

    fn doubt(&mut self, rate: f64, verdict: Verdict) {
        let known = self.doubted.filter(|doubt| doubt.rate.to_bits() == rate.to_bits());
        let mut doubt = known.unwrap_or(Doubt { rate, broken: 0, refused: 0 });
        match verdict {
            Verdict::Refused => doubt.refused += 1,
            Verdict::Broken | Verdict::Kept => doubt.broken += 1,
        }
        if doubt.broken.max(doubt.refused) < TIMES {
            self.doubted = Some(doubt);
            return;
        }
        self.doubted = None;
        self.limit = Some(Limit { rate, is_refused: doubt.refused >= TIMES });
        self.kept.retain(|&kept| kept < rate);
        self.confirmed = 0;
    }

    /// The rate that the search stays below.
    pub fn limit(&self) -> Option<f64> {
        self.limit.map(|limit| limit.rate)
    }

    /// What it came to, as far as it has come.
    pub fn found(&self) -> Found {
        let rate = self.kept.last().copied().filter(|_| self.confirmed >= self.bounds.confirmations);
        let is_bounded = rate.is_some_and(|rate| rate >= self.bounds.to) && self.limit.is_none();
        Found { rate, is_bounded, is_generator_limit: self.limit.is_some_and(|limit| limit.is_refused) }
    }
}

/// To three digits.
fn rounded(rate: f64) -> f64 {
    let unit = 10_f64.powf(rate.log10().floor() - 2.0);
    (rate / unit).round() * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { from: 100.0, to: 100_000.0, tolerance: 0.05, confirmations: 2 };

    /// Tries until the end; a trial is kept where `keeps` says so of its rate and number.
    fn search(bounds: Bounds, mut keeps: impl FnMut(f64, usize) -> bool) -> (Found, Vec<Trial>) {
        judged(bounds, |rate, number| if keeps(rate, number) { Verdict::Kept } else { Verdict::Broken })
    }

    /// The same with every verdict.
    fn judged(bounds: Bounds, mut judge: impl FnMut(f64, usize) -> Verdict) -> (Found, Vec<Trial>) {
        let mut search = Search::new(bounds);
        let mut trials = Vec::new();
        while let Some(trial) = search.next() {
            search.tell(trial, judge(trial.rate, trials.len()));
            trials.push(trial);
        }
        (search.found(), trials)
    }

    #[test]
    fn what_is_refused_ends_a_search_and_says_nothing_of_the_server() {
        // The server keeps it up to 8,000, the generator holds up to 3,000.
        let (found, trials) = judged(BOUNDS, |rate, _| match rate {
            _ if rate <= 3_000.0 => Verdict::Kept,
            _ if rate <= 8_000.0 => Verdict::Refused,
            _ => Verdict::Broken,
        });
        assert!(found.rate.is_some_and(|rate| (2_850.0..=3_000.0).contains(&rate)), "{found:?}");
        assert!(found.is_generator_limit && !found.is_bounded, "{found:?} {trials:?}");
        // The other way round it is the server's limit, whatever was refused above.
        let (found, _) = judged(BOUNDS, |rate, _| match rate {
            _ if rate <= 3_000.0 => Verdict::Kept,
            _ if rate <= 8_000.0 => Verdict::Broken,
            _ => Verdict::Refused,
        });
        assert!(found.rate.is_some_and(|rate| rate > 2_850.0) && !found.is_generator_limit, "{found:?}");
        // Not even the first rate can be judged: no rate, and no word of the server.
        let (found, trials) = judged(BOUNDS, |_, _| Verdict::Refused);
        assert_eq!((found.rate, found.is_generator_limit, trials.len()), (None, true, 2));
    }

    #[test]
    fn a_rate_that_is_refused_once_and_broken_once_is_tried_a_third_time() {
        use Verdict::{Broken, Kept, Refused};
        let script = |verdicts: [Verdict; 3]| {
            let (found, trials) =
                judged(Bounds { to: 100.0, confirmations: 0, ..BOUNDS }, |_, number| verdicts[number]);
            (found.rate, found.is_generator_limit, trials.len())
        };
        assert_eq!(script([Refused, Broken, Kept]), (Some(100.0), false, 3));
        assert_eq!(script([Refused, Broken, Broken]), (None, false, 3));
        assert_eq!(script([Broken, Refused, Refused]), (None, true, 3));
        assert_eq!(script([Refused, Kept, Kept]).2, 2);
    }

    #[test]
    fn a_knee_is_found_within_the_tolerance_wherever_it_is() {
        for knee in [101.0, 250.0, 3_333.0, 47_000.0, 99_000.0] {
            let (found, trials) = search(BOUNDS, |rate, _| rate <= knee);
            let rate = found.rate.expect("a rate");
            assert!(rate <= knee && rate * 1.051 >= knee, "{knee}: {rate}");
            assert!(!found.is_bounded && trials.len() < 30, "{knee}: {trials:?}");
            assert!(
                trials[trials.len() - 2..]
                    .iter()
                    .all(|trial| trial.is_confirmation && (trial.rate - rate).abs() < 1e-9)
            );
        }
    }

    #[test]
    fn what_lies_beyond_the_bounds_is_said() {
        let (found, trials) = search(BOUNDS, |_, _| true);
        assert_eq!((found.rate, found.is_bounded, found.is_generator_limit), (Some(100_000.0), true, false));
        assert_eq!(trials.iter().filter(|trial| trial.is_confirmation).count(), 2);
        let (found, trials) = search(BOUNDS, |_, _| false);
        assert_eq!((found.rate, trials.len()), (None, 2), "tried twice, and then given up");
        let (found, trials) = search(Bounds { to: 100.0, ..BOUNDS }, |_, _| true);
        assert_eq!((found.rate, found.is_bounded, trials.len()), (Some(100.0), true, 3));
    }

    #[test]
    fn a_bad_moment_does_not_halve_the_answer_and_a_good_one_does_not_double_it() {
        // The third trial fails once.
        let (found, _) = search(BOUNDS, |rate, number| rate <= 5_000.0 && number != 2);
        assert!(found.rate.is_some_and(|rate| rate > 4_750.0), "{found:?}");
        // 8,000 and more were kept by luck the first time.
        let mut luck = 9;
        let (found, trials) = search(BOUNDS, |rate, _| {
            luck -= 1;
            rate <= 5_000.0 || luck > 0
        });
        assert!(found.rate.is_some_and(|rate| (4_750.0..=5_000.0).contains(&rate)), "{found:?} {trials:?}");
    }

    #[test]
    fn chance_does_not_keep_it_going_forever() {
        let mut state = 1u64;
        let (_, trials) = search(BOUNDS, |_, _| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 63 == 1
        });
        assert!(trials.len() <= MOST_TRIALS);
    }

    #[test]
    fn rates_in_between_have_three_digits() {
        let three = [141.42, 2_828.4, 47_568.0].map(|rate| rounded(rate).to_string());
        assert_eq!(three, ["141", "2830", "47600"]);
    }

    #[test]
    fn an_unfinished_search_claims_nothing() {
        let mut search = Search::new(BOUNDS);
        let trial = search.next().unwrap();
        search.tell(trial, Verdict::Kept);
        assert_eq!(search.found().rate, None);
    }
}
