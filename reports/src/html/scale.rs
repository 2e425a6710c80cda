//! From values to places on a plot, and the ticks in between.

/// A scale from values to pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// The values at both ends.
    domain: (f64, f64),
    /// The pixels there.
    range: (f64, f64),
    logarithmic: bool,
}

impl Scale {
    /// Equal steps for equal differences.
    pub fn linear(domain: (f64, f64), range: (f64, f64)) -> Self {
        Self { domain, range, logarithmic: false }
    }

    /// Equal steps for equal ratios; the domain must be above zero.
    pub fn logarithmic(domain: (f64, f64), range: (f64, f64)) -> Self {
        Self { domain, range, logarithmic: true }
    }

    /// The values at both ends.
    pub fn domain(&self) -> (f64, f64) {
        self.domain
    }

    /// The pixels at both ends.
    pub fn range(&self) -> (f64, f64) {
        self.range
    }

    /// Whether equal steps stand for equal ratios.
    pub fn is_logarithmic(&self) -> bool {
        self.logarithmic
    }

    /// Where a value is; values beyond the ends stay at them.
    pub fn place(&self, value: f64) -> f64 {
        let (low, high) = self.domain;
        let share = if self.logarithmic {
            (value.max(low) / low).ln() / (high / low).ln()
        } else {
            (value - low) / (high - low)
        };
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        self.range.0 + share * (self.range.1 - self.range.0)
    }
}

/// The smallest run of 1-2-5 steps that holds all values, for a logarithmic axis; at least two steps.
pub fn logarithmic_ticks(low: f64, high: f64) -> Vec<f64> {
    const STEPS: [f64; 3] = [1.0, 2.0, 5.0];
    let low = low.max(1e-3);
    let high = high.max(low);
    let tick = |index: i32| STEPS[index.rem_euclid(3) as usize] * 10_f64.powi(index.div_euclid(3));
    let mut first = (low.log10().floor() as i32) * 3;
    while tick(first + 1) <= low {
        first += 1;
    }
    let mut last = first + 1;
    while tick(last) < high {
        last += 1;
    }
    (first..=last).map(tick).collect()
}

/// Which of the logarithmic ticks get a label, so that at most so many stand there: all, or decades alone.
pub fn labelled(ticks: &[f64], most: usize) -> Vec<f64> {
    if ticks.len() <= most {
        return ticks.to_vec();
    }
    let is_decade = |tick: &f64| (tick.log10() - tick.log10().round()).abs() < 1e-9;
    let decades: Vec<f64> = ticks.iter().copied().filter(is_decade).collect();
    let every = decades.len().div_ceil(most.max(1)).max(1);
    decades.into_iter().step_by(every).collect()
}

/// Round numbers from 0 to `high`, at most so many.
pub fn linear_ticks(high: f64, most: usize) -> Vec<f64> {
    let raw = high.max(1e-9) / most.max(1) as f64;
    let decade = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * decade).find(|step| *step >= raw * 0.999);
    let step = step.unwrap_or(10.0 * decade);
    (0..=most as u32 + 1)
        .map(|index| f64::from(index) * step)
        .filter(|tick| *tick <= high * 1.000_001)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_proportional_and_stay_inside() {
        let linear = Scale::linear((0.0, 10.0), (0.0, 100.0));
        assert!((linear.place(2.5) - 25.0).abs() < 1e-9);
        assert!((linear.place(99.0) - 100.0).abs() < 1e-9);
        let upwards = Scale::logarithmic((10.0, 1_000.0), (200.0, 0.0));
        assert!((upwards.place(100.0) - 100.0).abs() < 1e-9);
        assert!((upwards.place(0.0) - 200.0).abs() < 1e-9);
        assert!(Scale::linear((3.0, 3.0), (0.0, 1.0)).place(3.0).is_finite());
    }

    #[test]
    fn ticks_hold_the_values() {
        assert_eq!(
            logarithmic_ticks(148.0, 6_402.0),
            [100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0]
        );
        assert_eq!(logarithmic_ticks(100.0, 200.0), [100.0, 200.0]);
        assert_eq!(logarithmic_ticks(3.0, 3.0), [2.0, 5.0]);
        assert!(logarithmic_ticks(0.0, 0.0).len() >= 2);
        let many = logarithmic_ticks(1.0, 1e8);
        assert_eq!(labelled(&many, 9), [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8]);
        assert!(labelled(&many, 4).len() <= 5);
        assert_eq!(linear_ticks(10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(linear_ticks(599.0, 6), [0.0, 100.0, 200.0, 300.0, 400.0, 500.0]);
        assert_eq!(linear_ticks(1.0, 5), [0.0, 0.2, 0.4, 0.600_000_000_000_000_1, 0.8, 1.0]);
    }
}
