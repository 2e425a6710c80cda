//! Paired differences: Wilcoxon's signed-rank test, exactly, and the estimate that belongs to it.
//!
//! Wilcoxon, F. (1945), *Individual comparisons by ranking methods*; Hodges, J. L. and Lehmann, E. L. (1963),
//! *Estimates of location based on rank tests*. Notation and the interval follow Hollander, Wolfe and Chicken,
//! *Nonparametric Statistical Methods*, chapter 3.

use super::median;

/// The exact one-sided p-value of differences that tend to be above zero: the probability, if each were as likely to
/// have the opposite sign, of a signed-rank sum as large as this one or larger.
///
/// **Zeros** say nothing of a direction and are left out, as Wilcoxon did. **Ties** get the mean of the ranks they
/// share, and the distribution is the one of just these ranks over all 2ⁿ signs (the permutation distribution), not
/// the table for untied ranks: exact with ties too. Nothing but zeros, or nothing at all, gives 1.
pub fn signed_rank_p(differences: &[f64]) -> f64 {
    let mut ordered: Vec<f64> = differences.iter().copied().filter(|value| *value != 0.0).collect();
    if ordered.is_empty() || ordered.iter().any(|value| value.is_nan()) {
        return 1.0;
    }
    ordered.sort_by(|left, right| left.abs().total_cmp(&right.abs()));
    let mut observed = 0;
    let mut doubled_ranks = Vec::with_capacity(ordered.len());
    for tied in ordered.chunk_by(|left, right| left.abs().total_cmp(&right.abs()).is_eq()) {
        // Doubled, so that a mean of two ranks is a whole number.
        let doubled = 2 * doubled_ranks.len() + tied.len() + 1;
        observed += tied.iter().filter(|value| **value > 0.0).count() * doubled;
        doubled_ranks.extend(std::iter::repeat_n(doubled, tied.len()));
    }
    upper_tail(&sum_distribution(&doubled_ranks), observed)
}

/// The probabilities of all sums of a random half of the ranks.
fn sum_distribution(ranks: &[usize]) -> Vec<f64> {
    let mut probabilities = vec![0.0; ranks.iter().sum::<usize>() + 1];
    probabilities[0] = 1.0;
    let mut largest = 0;
    for &rank in ranks {
        for sum in (0..=largest).rev() {
            let half = probabilities[sum] / 2.0;
            probabilities[sum] = half;
            probabilities[sum + rank] += half;
        }
        largest += rank;
    }
    probabilities
}

/// Summed from the far end, where the small terms are.
fn upper_tail(probabilities: &[f64], from: usize) -> f64 {
    probabilities[from..].iter().rev().sum::<f64>().min(1.0)
}

/// The smallest p-value that so many differences can have: all above zero.
pub fn smallest_p(differences: usize) -> f64 {
    0.5_f64.powi(differences as i32)
}

/// A typical difference and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// The Hodges–Lehmann estimate: the median of the means of all pairs of differences, each with itself included.
    pub estimate: f64,
    /// Lower bound of the interval.
    pub low: f64,
    /// Upper bound of the interval.
    pub high: f64,
    /// How often such an interval holds the true value at least: what was asked for or more, for the bounds move in
    /// steps; less only where the differences are too few for any such interval (fewer than 6 at 95 %).
    pub confidence: f64,
}

/// The Hodges–Lehmann estimate with Tukey's distribution-free interval of at least this confidence: all shifts that
/// the two-sided signed-rank test at 1 − confidence does not reject. Zeros and ties stay in; with ties the interval
/// is cautious. `None` without differences, or with one that is not finite.
pub fn shift(differences: &[f64], confidence: f64) -> Option<Shift> {
    if differences.is_empty() || differences.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let means = walsh_averages(differences);
    let ranks: Vec<usize> = (1..=differences.len()).collect();
    let probabilities = sum_distribution(&ranks);
    // So many means are cut at each end: as long as the test would reject a shift beyond them.
    let (mut cut, mut tail) = (0, 0.0);
    while tail + probabilities[cut] <= (1.0 - confidence) / 2.0 {
        tail += probabilities[cut];
        cut += 1;
    }
    let (cut, tail) = if cut == 0 { (1, probabilities[0]) } else { (cut, tail) };
    Some(Shift {
        estimate: median(&means)?,
        low: means[cut - 1],
        high: means[means.len() - cut],
        confidence: 1.0 - 2.0 * tail,
    })
}

/// The means of all pairs, each value with itself included, in ascending order.
fn walsh_averages(values: &[f64]) -> Vec<f64> {
    let mut means = Vec::with_capacity(values.len() * (values.len() + 1) / 2);
    for (index, left) in values.iter().enumerate() {
        means.extend(values[index..].iter().map(|right| f64::midpoint(*left, *right)));
    }
    means.sort_by(f64::total_cmp);
    means
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "sums of powers of two are exact")]
mod tests {
    use super::*;

    #[test]
    fn a_handful_by_hand() {
        // 1, 2, 3 and −4: W = 6 of 10. Sums of subsets of {1, 2, 3, 4} from 6 on: 7 of 16.
        assert_eq!(signed_rank_p(&[1.0, 2.0, 3.0, -4.0]), 7.0 / 16.0);
        assert_eq!(signed_rank_p(&[0.3, 0.1, 0.2]), smallest_p(3));
        assert_eq!(signed_rank_p(&[-1.0, -2.0]), 1.0);
        // Two tied: ranks 1.5 and 1.5, sums 0, 1.5, 1.5, 3.
        assert_eq!(signed_rank_p(&[1.0, -1.0]), 0.75);
    }

    #[test]
    fn nothing_says_nothing() {
        assert_eq!(signed_rank_p(&[]), 1.0);
        assert_eq!(signed_rank_p(&[0.0; 12]), 1.0);
        assert_eq!(signed_rank_p(&[f64::NAN, 1.0]), 1.0);
        assert_eq!(shift(&[], 0.95), None);
        assert_eq!(shift(&[1.0, f64::INFINITY], 0.95), None);
    }

    #[test]
    fn zeros_are_left_out_of_the_test_and_stay_in_the_estimate() {
        assert_eq!(signed_rank_p(&[0.0, 1.0, 2.0, 0.0]), signed_rank_p(&[1.0, 2.0]));
        assert_eq!(shift(&[0.0, 1.0], 0.95).map(|shift| shift.estimate), Some(0.5));
    }

    #[test]
    fn too_few_for_the_confidence_say_what_they_reach() {
        let shift = shift(&[1.0, 2.0, 3.0], 0.95).unwrap();
        assert_eq!((shift.low, shift.high, shift.confidence), (1.0, 3.0, 0.75));
    }

    #[test]
    fn many_differences_do_not_lose_their_precision() {
        let differences: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(signed_rank_p(&differences), smallest_p(200));
    }
}
