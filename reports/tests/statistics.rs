//! The statistics of comparisons against `SciPy`'s output, stored as data by `data/statistics/make.py`, and against
//! published tables.

use lastmile_reports::statistics::{shift, signed_rank_p, t_test_p};
use serde::Deserialize;

#[derive(Deserialize)]
struct Document<Case> {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Paired {
    values: Vec<f64>,
    p: f64,
    estimate: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
}

#[derive(Deserialize)]
struct TwoSamples {
    left: Vec<f64>,
    right: Vec<f64>,
    p: f64,
}

fn assert_near(value: f64, expected: f64, what: &str) {
    assert!(
        (value - expected).abs() <= 1e-9 * expected.abs().max(1e-6),
        "{what}: {value}, SciPy says {expected}"
    );
}

#[test]
fn signed_ranks_agree_with_scipy() {
    let document: Document<Paired> =
        serde_json::from_str(include_str!("data/statistics/signed-rank.json")).expect("the data reads");
    assert_eq!(document.cases.len(), 15);
    for (number, case) in document.cases.iter().enumerate() {
        assert_near(signed_rank_p(&case.values), case.p, &format!("p of case {number}"));
        if let (Some(estimate), Some(low), Some(high)) = (case.estimate, case.low, case.high) {
            let shift = shift(&case.values, 0.95).expect("there are values");
            assert_near(shift.estimate, estimate, &format!("estimate of case {number}"));
            assert_near(shift.low, low, &format!("lower bound of case {number}"));
            assert_near(shift.high, high, &format!("upper bound of case {number}"));
            assert!(shift.confidence >= 0.95);
        }
    }
}

#[test]
fn t_tests_agree_with_scipy() {
    let document: Document<TwoSamples> =
        serde_json::from_str(include_str!("data/statistics/t-test.json")).expect("the data reads");
    for (number, case) in document.cases.iter().enumerate() {
        let p = t_test_p(&case.left, &case.right).expect("enough values");
        assert!((p / case.p - 1.0).abs() < 1e-9, "case {number}: {p}, SciPy says {}", case.p);
    }
}

/// The critical values of Wilcoxon's T that every table prints: the largest sum of the negative ranks at which the
/// two-sided test at 5 % rejects, and the one-sided at 1 %.
#[test]
fn the_published_critical_values_are_where_the_test_turns() {
    let table = [
        (7, 2, 0),
        (8, 3, 1),
        (9, 5, 3),
        (10, 8, 5),
        (11, 10, 7),
        (12, 13, 9),
        (13, 17, 12),
        (14, 21, 15),
        (15, 25, 19),
        (16, 29, 23),
        (18, 40, 32),
        (20, 52, 43),
        (25, 89, 76),
        (30, 137, 120),
    ];
    for (count, at_5_two_sided, at_1_one_sided) in table {
        // Differences 1 to n, of which the negative ones sum up to T.
        let p_of = |t: i32| {
            let mut left = t;
            let values: Vec<f64> = (1..=count)
                .rev()
                .map(|rank| {
                    let is_negative = rank <= left;
                    left -= if is_negative { rank } else { 0 };
                    f64::from(if is_negative { -rank } else { rank })
                })
                .collect();
            assert_eq!(left, 0);
            signed_rank_p(&values)
        };
        assert!(p_of(at_5_two_sided) <= 0.025 && p_of(at_5_two_sided + 1) > 0.025, "n = {count}");
        assert!(p_of(at_1_one_sided) <= 0.01 && p_of(at_1_one_sided + 1) > 0.01, "n = {count}, one-sided");
    }
}
