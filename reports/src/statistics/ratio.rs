//! How many times larger one figure is than another, from repetitions measured in turn.

use super::two_sided_p;

/// A ratio with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RatioInterval {
    /// The ratio.
    pub value: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

impl RatioInterval {
    /// Whether the interval leaves no room for equality.
    pub fn differs(&self) -> bool {
        self.low > 1.0 || self.high < 1.0
    }
}

/// Fewer pairs than this say too little about their own spread.
const FEWEST_PAIRS: usize = 3;

/// The ratio of `other` to `base` from pairs measured next to each other: the mean of the logarithms of their ratios
/// with Student's *t* interval, taken back. What a whole pair shares, such as a machine's slow minute, drops out.
/// `None` for fewer than three pairs, or where a figure is not positive.
pub fn paired_ratio(base: &[f64], other: &[f64]) -> Option<RatioInterval> {
    let logs: Vec<f64> = base.iter().zip(other).map(|(base, other)| (other / base).ln()).collect();
    if logs.len() < FEWEST_PAIRS || logs.iter().any(|log| !log.is_finite()) {
        return None;
    }
    Some(of_logs(&logs))
}

/// The geometric mean of repetitions with its 95 % interval; `None` for fewer than three, or where one is not positive.
pub fn mean_interval(repetitions: &[f64]) -> Option<RatioInterval> {
    let logs: Vec<f64> = repetitions.iter().map(|value| value.ln()).collect();
    (logs.len() >= FEWEST_PAIRS && logs.iter().all(|log| log.is_finite())).then(|| of_logs(&logs))
}

fn of_logs(logs: &[f64]) -> RatioInterval {
    let n = logs.len() as f64;
    let mean = logs.iter().sum::<f64>() / n;
    let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let half = student_t_95(logs.len() - 1) * (variance / n).sqrt();
    RatioInterval { value: mean.exp(), low: (mean - half).exp(), high: (mean + half).exp() }
}

/// The two-sided 95 % point of Student's distribution, by halving: where 5 % lie beyond.
fn student_t_95(degrees: usize) -> f64 {
    let (mut low, mut high) = (1.9, 13.0);
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        if two_sided_p(middle, degrees.max(1) as f64) > 0.05 {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_drift_drops_out() {
        let base = [10.0, 14.0, 12.0, 19.0];
        let other = base.map(|value| value * 1.5);
        let ratio = paired_ratio(&base, &other).expect("four pairs");
        assert!((ratio.value - 1.5).abs() < 1e-9 && (ratio.high - ratio.low).abs() < 1e-9 && ratio.differs());
    }

    #[test]
    fn noise_widens_the_interval_until_nothing_differs() {
        let ratio = paired_ratio(&[10.0, 10.0, 10.0, 10.0], &[9.0, 12.0, 10.5, 9.8]).expect("four pairs");
        // By hand: logs −0.1054, 0.1823, 0.0488, −0.0202; mean 0.0264, sd 0.1216, t(3) 3.182.
        assert!((ratio.value - 1.0267).abs() < 1e-3, "{ratio:?}");
        assert!((ratio.low - 0.846).abs() < 1e-3 && (ratio.high - 1.246).abs() < 1e-3, "{ratio:?}");
        assert!(!ratio.differs());
    }

    #[test]
    fn too_few_or_unusable_figures_have_no_ratio() {
        assert_eq!(paired_ratio(&[1.0, 2.0], &[1.0, 2.0]), None);
        assert_eq!(paired_ratio(&[1.0, 0.0, 1.0], &[1.0, 2.0, 3.0]), None);
        assert!((student_t_95(1) - 12.706).abs() < 1e-3 && (student_t_95(3) - 3.182).abs() < 1e-3);
        assert!((student_t_95(60) - 2.000).abs() < 2e-3);
    }
}
