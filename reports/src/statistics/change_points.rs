//! Where the level of a series changed: E-divisive means with the t-test for significance.
//!
//! Matteson, D. S. and James, N. A. (2014), *A nonparametric approach for multiple change point analysis*, split a
//! series where an energy statistic is largest, and judge a split by permutation. `MongoDB` (Daly et al., ICPE 2020)
//! found it fit for benchmarks; Hunter (Fleming, Kołaczkowski et al., ICPE 2023; now Apache Otava) replaced the permutations
//! by Student's t-test, which gives the same answer every time and is surer on short series, and looks in windows first
//! and then drops the weakest points until all are significant. So here.

use super::student::t_test_p;

/// What counts as a change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sensitivity {
    /// Largest p-value of a change, Hunter's default 0.001.
    pub p: f64,
    /// Smallest relative change of the mean that is told (0.05 is 5 %).
    pub change: f64,
}

impl Default for Sensitivity {
    fn default() -> Self {
        Self { p: 0.001, change: 0.02 }
    }
}

/// A change of level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePoint {
    /// Index of the first value of the new level.
    pub index: usize,
    /// Mean since the change point before, or the beginning.
    pub before: f64,
    /// Mean until the next one, or the end.
    pub after: f64,
    /// Two-sided p-value of the t-test between the two.
    pub p: f64,
}

impl ChangePoint {
    /// The relative change of the mean; `None` where there was nothing before.
    pub fn change(&self) -> Option<f64> {
        (self.before != 0.0).then(|| self.after / self.before - 1.0)
    }
}

/// Fewest values on each side of a change: one less has no variance.
const FEWEST: usize = 2;
/// A point may be this much less significant while it is searched for: its neighbours may still be unknown.
const WEAK: f64 = 10.0;
/// Long series are searched window by window, or a change is lost among many that cancel each other.
const WINDOW: usize = 50;

/// All changes of level in a series, in its order. Values that are not finite must not be in it.
pub fn change_points(series: &[f64], sensitivity: Sensitivity) -> Vec<ChangePoint> {
    let mut indexes = Vec::new();
    // Windows overlap by half, so that no change lies only at the edge of one.
    let mut begin = 0;
    loop {
        let end = (begin + WINDOW).min(series.len());
        divide(&series[begin..end], begin, sensitivity.p * WEAK, &mut indexes);
        if end == series.len() {
            break;
        }
        begin += WINDOW / 2;
    }
    indexes.sort_unstable();
    indexes.dedup();
    drop_the_weakest(series, indexes, sensitivity)
}

/// Splits a stretch where it differs most, and its parts again, as long as the split is significant.
fn divide(stretch: &[f64], offset: usize, most_p: f64, indexes: &mut Vec<usize>) {
    let Some(split) = best_split(stretch) else { return };
    let (left, right) = stretch.split_at(split);
    if t_test_p(left, right).is_none_or(|p| p > most_p) {
        return;
    }
    divide(left, offset, most_p, indexes);
    indexes.push(offset + split);
    divide(right, offset + split, most_p, indexes);
}

/// The split with the largest energy statistic; `None` where the stretch is too short for any.
///
/// For parts of n and m values: nm/(n+m) · (2·mean|x−y| − mean|x−x′| − mean|y−y′|), with α = 1.
fn best_split(stretch: &[f64]) -> Option<usize> {
    if stretch.len() < 2 * FEWEST {
        return None;
    }
    let distance = |left: &f64, right: &f64| (left - right).abs();
    let sum_to = |value: &f64, others: &[f64]| others.iter().map(|other| distance(value, other)).sum::<f64>();
    // Sums over pairs, kept up to date as values change sides: the whole search takes quadratic time.
    let mut within_left = 0.0;
    let mut within_right: f64 =
        stretch.iter().enumerate().map(|(index, value)| sum_to(value, &stretch[index + 1..])).sum();
    let mut between = 0.0;
    let mut best = None;
    for split in 1..=stretch.len() - FEWEST {
        let moved = &stretch[split - 1];
        let (to_left, to_right) = (sum_to(moved, &stretch[..split - 1]), sum_to(moved, &stretch[split..]));
        within_left += to_left;
        within_right -= to_right;
        between += to_right - to_left;
        if split < FEWEST {
            continue;
        }
        let (n, m) = (split as f64, (stretch.len() - split) as f64);
        let pairs = |count: f64| count * (count - 1.0) / 2.0;
        let energy = 2.0 * between / (n * m) - within_left / pairs(n) - within_right / pairs(m);
        let statistic = n * m / (n + m) * energy;
        if best.is_none_or(|(largest, _)| statistic > largest) {
            best = Some((statistic, split));
        }
    }
    best.map(|(_, split)| split)
}

/// Judges each point by the stretches between its neighbours, and drops the least significant or too small until all
/// that are left are significant and large enough.
fn drop_the_weakest(series: &[f64], mut indexes: Vec<usize>, sensitivity: Sensitivity) -> Vec<ChangePoint> {
    loop {
        let points: Vec<ChangePoint> = judged(series, &indexes);
        let is_small =
            |point: &ChangePoint| point.change().is_some_and(|change| change.abs() < sensitivity.change);
        let weakest = points
            .iter()
            .enumerate()
            .filter(|(_, point)| point.p > sensitivity.p || is_small(point))
            .max_by(|(_, left), (_, right)| left.p.total_cmp(&right.p));
        match weakest {
            Some((place, _)) => indexes.remove(place),
            None => return points,
        };
    }
}

fn judged(series: &[f64], indexes: &[usize]) -> Vec<ChangePoint> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let point = |(place, &index): (usize, &usize)| {
        let begin = place.checked_sub(1).map_or(0, |before| indexes[before]);
        let end = indexes.get(place + 1).copied().unwrap_or(series.len());
        let (before, after) = (&series[begin..index], &series[index..end]);
        ChangePoint {
            index,
            before: mean(before),
            after: mean(after),
            p: t_test_p(before, after).unwrap_or(1.0),
        }
    };
    indexes.iter().enumerate().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deterministic noise, a few per mille.
    fn noisy(level: f64, index: usize) -> f64 {
        level * (1.0 + ((index * 7919) % 101) as f64 / 101.0 * 0.01)
    }

    #[test]
    fn a_step_is_dated_to_its_first_value() {
        let series: Vec<f64> =
            (0..40).map(|index| noisy(if index < 23 { 100.0 } else { 110.0 }, index)).collect();
        let points = change_points(&series, Sensitivity::default());
        assert_eq!(points.iter().map(|point| point.index).collect::<Vec<_>>(), [23]);
        let change = points[0].change().unwrap();
        assert!((change - 0.1).abs() < 0.01, "{change}");
    }

    #[test]
    fn several_steps_up_and_down_are_all_found_in_a_long_series() {
        let level = |index: usize| [100.0, 120.0, 100.0, 90.0][(index / 60).min(3)];
        let series: Vec<f64> = (0..240).map(|index| noisy(level(index), index)).collect();
        let points = change_points(&series, Sensitivity::default());
        assert_eq!(points.iter().map(|point| point.index).collect::<Vec<_>>(), [60, 120, 180]);
    }

    #[test]
    fn a_slow_drift_is_found() {
        // Half a per cent a revision, far less than the noise between two of them.
        let series: Vec<f64> = (0..60)
            .map(|index| noisy(100.0 + if index > 20 { (index - 20) as f64 * 0.5 } else { 0.0 }, index))
            .collect();
        let points = change_points(&series, Sensitivity::default());
        assert!(!points.is_empty() && points[0].index > 20, "{points:?}");
        assert!(points.iter().all(|point| point.change().unwrap() > 0.0));
    }

    #[test]
    fn nothing_changes_in_noise_or_in_too_short_a_series() {
        let series: Vec<f64> = (0..200).map(|index| noisy(100.0, index)).collect();
        assert_eq!(change_points(&series, Sensitivity::default()), []);
        assert_eq!(change_points(&[], Sensitivity::default()), []);
        assert_eq!(change_points(&[1.0, 2.0, 3.0], Sensitivity::default()), []);
        assert_eq!(change_points(&[5.0; 30], Sensitivity::default()), []);
    }

    #[test]
    fn a_change_too_small_to_matter_is_not_told() {
        let series: Vec<f64> =
            (0..60).map(|index| noisy(if index < 30 { 100.0 } else { 101.5 }, index)).collect();
        assert_eq!(change_points(&series, Sensitivity::default()), []);
        let keen = Sensitivity { change: 0.005, ..Sensitivity::default() };
        assert_eq!(change_points(&series, keen).len(), 1);
    }
}
