//! Many questions, one promise: Holm's adjustment over metrics, and an error rate shared among several looks.

/// Holm's step-down adjusted p-values, in the order given: comparing each with a level α keeps the chance of *any*
/// false alarm among them at or below α, whatever their dependence.
///
/// Holm, S. (1979), *A simple sequentially rejective multiple test procedure*.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|left, right| p_values[*left].total_cmp(&p_values[*right]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (place, index) in order.into_iter().enumerate() {
        let factor = (p_values.len() - place) as f64;
        largest = largest.max(p_values[index] * factor).min(1.0);
        adjusted[index] = largest;
    }
    adjusted
}

/// A decision that may be taken early: after so many pairs it is looked, each time at a level of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Looks {
    looks: Vec<Look>,
}

/// One of the looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// Pairs measured by then.
    pub pairs: usize,
    /// The level a p-value is held against.
    pub alpha: f64,
}

impl Looks {
    /// Looks after these numbers of pairs. The first spends half of α, the others the rest in equal parts (the only
    /// one, all of it), so that the chance of a false alarm at any of them is at most α by the union bound, whatever
    /// their dependence. The first gets most, for what is plain shall be found early.
    pub fn new(pairs: &[usize], alpha: f64) -> Self {
        let share = |index: usize| match (pairs.len(), index) {
            (1, _) => 1.0,
            (_, 0) => 0.5,
            (count, _) => 0.5 / (count - 1) as f64,
        };
        let look = |(index, pairs): (usize, &usize)| Look { pairs: *pairs, alpha: alpha * share(index) };
        Self { looks: pairs.iter().enumerate().map(look).collect() }
    }

    /// The looks in their order.
    pub fn all(&self) -> &[Look] {
        &self.looks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holm_by_hand() {
        // The worked example of many textbooks: 0.01, 0.04, 0.03, 0.005.
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (value, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((value - expected).abs() < 1e-12, "{adjusted:?}");
        }
        assert_eq!(holm(&[0.7, 0.9]), [1.0, 1.0]);
        assert_eq!(holm(&[0.2]), [0.2]);
        assert_eq!(holm(&[]), Vec::<f64>::new());
    }

    #[test]
    fn looks_spend_all_of_alpha_and_no_more() {
        for pairs in [&[12][..], &[12, 20], &[12, 20, 30]] {
            let looks = Looks::new(pairs, 0.01);
            let spent: f64 = looks.all().iter().map(|look| look.alpha).sum();
            assert!((spent - 0.01).abs() < 1e-12, "{pairs:?}");
        }
        assert_eq!(Looks::new(&[12, 20, 30], 0.01).all()[0], Look { pairs: 12, alpha: 0.005 });
    }
}
