//! Student's t distribution and the t-test of two samples.

/// The two-sided p-value of Student's t-test that two samples have one mean, equal variances assumed (a change of
/// level is what is looked for, in a series of one machine). `None` where a sample has fewer than 2 values; where
/// neither sample varies at all, 0 if they differ and 1 if not.
pub fn t_test_p(left: &[f64], right: &[f64]) -> Option<f64> {
    if left.len() < 2 || right.len() < 2 {
        return None;
    }
    let (left_mean, left_squares) = mean_and_squares(left);
    let (right_mean, right_squares) = mean_and_squares(right);
    let (left_n, right_n) = (left.len() as f64, right.len() as f64);
    let freedom = left_n + right_n - 2.0;
    let variance = (left_squares + right_squares) / freedom;
    let difference = left_mean - right_mean;
    if variance <= 0.0 {
        return Some(f64::from(u8::from(difference == 0.0)));
    }
    let t = difference / (variance * (1.0 / left_n + 1.0 / right_n)).sqrt();
    Some(two_sided_p(t, freedom))
}

/// The mean, and the sum of squared distances from it.
fn mean_and_squares(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (mean, values.iter().map(|value| (value - mean).powi(2)).sum())
}

/// The probability that |t| of so many degrees of freedom is this large or larger.
pub fn two_sided_p(t: f64, freedom: f64) -> f64 {
    if !t.is_finite() {
        return 0.0;
    }
    incomplete_beta(freedom / 2.0, 0.5, freedom / (freedom + t * t))
}

/// The regularised incomplete beta function, by its continued fraction (Abramowitz and Stegun 26.5.8), evaluated as
/// Lentz does.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    // The fraction converges fast on this side; the other is its mirror.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, 1.0 - x) / b
    }
}

#[expect(clippy::many_single_char_names, reason = "the names of the formula")]
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let nonzero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / nonzero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for step in 1..500 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / nonzero(1.0 + even * d);
        c = nonzero(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / nonzero(1.0 + odd * d);
        c = nonzero(1.0 + odd / c);
        fraction *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

/// The logarithm of the gamma function for positive arguments: Lanczos' series with g = 7.
fn ln_gamma(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // Reflection.
        return (std::f64::consts::PI / (std::f64::consts::PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let series = COEFFICIENTS[1..]
        .iter()
        .zip(1_i32..)
        .fold(COEFFICIENTS[0], |sum, (coefficient, index)| sum + coefficient / (x + f64::from(index)));
    let t = x + 7.5;
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * t.ln() - t + series.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_that_do_not_vary_are_judged_by_their_value() {
        assert_eq!(t_test_p(&[1.0, 1.0], &[1.0, 1.0]), Some(1.0));
        assert_eq!(t_test_p(&[1.0, 1.0], &[2.0, 2.0]), Some(0.0));
        assert_eq!(t_test_p(&[1.0], &[2.0, 2.0]), None);
    }

    #[test]
    fn the_published_critical_values_have_their_levels() {
        // Student's table, two-sided 5 % and 1 %.
        for (freedom, t, p) in
            [(1.0, 12.706, 0.05), (10.0, 2.228, 0.05), (10.0, 3.169, 0.01), (30.0, 2.750, 0.01)]
        {
            assert!((two_sided_p(t, freedom) - p).abs() < 2e-5, "{freedom} {t}");
        }
    }
}
