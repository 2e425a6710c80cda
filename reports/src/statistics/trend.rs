//! Whether a series goes anywhere: the Mann–Kendall test.

/// The probability, under no trend at all, of a series that trends as clearly as this one in either direction.
///
/// Mann–Kendall with the correction for ties and the normal approximation, which wants at least 8 points; `None`
/// for fewer, or where all points are equal.
pub fn mann_kendall_p(series: &[f64]) -> Option<f64> {
    if series.len() < 8 {
        return None;
    }
    let n = series.len() as f64;
    let mut concordance = 0.0_f64;
    for (index, earlier) in series.iter().enumerate() {
        for later in &series[index + 1..] {
            concordance += f64::from(i8::from(later > earlier) - i8::from(later < earlier));
        }
    }
    let term = |size: f64| size * (size - 1.0) * (2.0 * size + 5.0);
    let tied: f64 = tie_sizes(series).into_iter().map(term).sum();
    let variance = (term(n) - tied) / 18.0;
    if variance <= 0.0 {
        return None;
    }
    // The step of one towards zero is the correction for a count taken as continuous.
    let z = (concordance.abs() - 1.0).max(0.0) / variance.sqrt();
    Some(2.0 * normal_tail(z))
}

/// How many points share each value.
fn tie_sizes(series: &[f64]) -> Vec<f64> {
    let mut sorted = series.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.chunk_by(|left, right| left.total_cmp(right).is_eq()).map(|run| run.len() as f64).collect()
}

/// The probability that a standard normal value exceeds `z ≥ 0`.
///
/// Abramowitz and Stegun 26.2.17; its error is below 7.5e-8, far finer than any threshold here.
fn normal_tail(z: f64) -> f64 {
    const COEFFICIENTS: [f64; 5] =
        [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let polynomial = COEFFICIENTS.iter().rev().fold(0.0, |sum, coefficient| (sum + coefficient) * t);
    (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt() * polynomial
}

/// The medians of the first and the second half of a series; `None` where a half would be empty.
pub fn halves(series: &[f64]) -> Option<(f64, f64)> {
    let (first, second) = series.split_at(series.len() / 2);
    Some((median(first)?, median(second)?))
}

/// The median of a series.
pub fn median(series: &[f64]) -> Option<f64> {
    let mut sorted = series.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length.is_multiple_of(2) => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
        _ => Some(sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_tail_agrees_with_tables() {
        for (z, expected) in [(0.0, 0.5), (1.0, 0.158_655_3), (1.959_964, 0.025), (2.575_829, 0.005)] {
            assert!((normal_tail(z) - expected).abs() < 1e-6, "{z}");
        }
    }

    #[test]
    fn a_rising_series_trends_and_a_shuffled_one_does_not() {
        let rising: Vec<f64> = (0..20).map(f64::from).collect();
        assert!(mann_kendall_p(&rising).expect("enough points") < 1e-6);
        let swinging: Vec<f64> = (0..20).map(|index| f64::from((index * 13) % 21)).collect();
        assert!(mann_kendall_p(&swinging).expect("enough points") > 0.05);
    }

    #[test]
    fn the_test_agrees_with_a_worked_example() {
        // 10 points, S = 45 − 2·3 = 39 by hand (three inversions), var = 125: z = 38/√125 = 3.3988, p = 0.000677.
        let series = [2.0, 1.0, 3.0, 5.0, 4.0, 6.0, 8.0, 7.0, 9.0, 10.0];
        let p = mann_kendall_p(&series).expect("enough points");
        assert!((p - 0.000_677).abs() < 1e-5, "{p}");
    }

    #[test]
    fn too_little_to_judge_is_not_judged() {
        assert_eq!(mann_kendall_p(&[1.0; 7]), None);
        assert_eq!(mann_kendall_p(&[1.0; 20]), None);
        assert_eq!(halves(&[1.0]), None);
        assert_eq!(halves(&[1.0, 3.0, 5.0, 9.0]), Some((2.0, 7.0)));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    }
}
