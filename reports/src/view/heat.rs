//! Latencies over time by magnitude: which share of each second's deliveries was how late.

use crate::schema::CaseResult;

use super::style;

/// More columns than this could not be told apart on a page; seconds are then added up.
const MOST_COLUMNS: u32 = 120;
/// Buckets of the result that make a doubling of the latency.
const BUCKETS_A_DOUBLING: i16 = 4;

/// Buckets that a latency can be in, from 1 ns to a day; what a damaged result has beyond would stretch the scale.
const PLAUSIBLE: std::ops::RangeInclusive<i16> = -40..=146;

fn plausible(buckets: &[(i16, u64)]) -> impl Iterator<Item = &(i16, u64)> {
    buckets.iter().filter(|(bucket, count)| PLAUSIBLE.contains(bucket) && *count > 0)
}

/// The heat map of one case.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    /// The protocol's name.
    pub name: String,
    /// Its style slot.
    pub slot: usize,
    /// Seconds that one column stands for.
    pub seconds_a_column: u32,
    /// Columns, in order; one without deliveries has no cells.
    pub columns: Vec<HeatColumn>,
}

/// One column.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatColumn {
    /// Its place, in columns.
    pub index: u32,
    /// Bucket and the share of the column's deliveries in it, from low to high.
    pub cells: Vec<(i16, f64)>,
}

/// The share of all deliveries of one case in each doubling of the latency.
#[derive(Debug, Clone, PartialEq)]
pub struct Doublings {
    /// The protocol's name.
    pub name: String,
    /// A doubling, from 2^n microseconds, and its share.
    pub shares: Vec<(i16, f64)>,
}

/// The latency in microseconds at which a bucket begins.
pub fn bucket_begins_us(bucket: i16) -> f64 {
    2_f64.powf(f64::from(bucket) / f64::from(BUCKETS_A_DOUBLING))
}

impl HeatMap {
    /// The map of a case; `None` where its timeline does not tell magnitudes.
    pub fn of(case: &CaseResult) -> Option<Self> {
        let last = case.timeline.iter().map(|point| point.second).max()?;
        let seconds_a_column = last / MOST_COLUMNS + 1;
        let mut columns: Vec<(u32, Vec<(i16, u64)>)> = Vec::new();
        for point in &case.timeline {
            let index = point.second / seconds_a_column;
            let column = match columns.iter_mut().find(|(other, _)| *other == index) {
                Some((_, column)) => column,
                None => {
                    columns.push((index, Vec::new()));
                    &mut columns.last_mut()?.1
                }
            };
            for (bucket, count) in plausible(&point.buckets) {
                match column.iter_mut().find(|(other, _)| other == bucket) {
                    Some((_, sum)) => *sum = sum.saturating_add(*count),
                    None => column.push((*bucket, *count)),
                }
            }
        }
        let has_any = columns.iter().any(|(_, cells)| !cells.is_empty());
        has_any.then(|| Self {
            name: case.protocol.clone(),
            slot: style::slot(&case.protocol),
            seconds_a_column,
            columns: columns.into_iter().map(|(index, cells)| shares(index, cells)).collect(),
        })
    }

    /// Lowest and highest bucket that holds anything.
    pub fn bounds(&self) -> Option<(i16, i16)> {
        let buckets =
            || self.columns.iter().flat_map(|column| column.cells.iter().map(|(bucket, _)| *bucket));
        Some((buckets().min()?, buckets().max()?))
    }
}

fn shares(index: u32, mut cells: Vec<(i16, u64)>) -> HeatColumn {
    cells.sort_unstable();
    let total: f64 = cells.iter().map(|(_, count)| *count as f64).sum();
    let share = |(bucket, count): (i16, u64)| (bucket, count as f64 / total.max(1.0));
    HeatColumn { index, cells: cells.into_iter().map(share).collect() }
}

/// The whole window by doublings; `None` where the timeline does not tell magnitudes.
pub fn by_doubling(case: &CaseResult) -> Option<Doublings> {
    let mut sums: Vec<(i16, u64)> = Vec::new();
    for (bucket, count) in case.timeline.iter().flat_map(|point| plausible(&point.buckets)) {
        let doubling = bucket.div_euclid(BUCKETS_A_DOUBLING);
        match sums.iter_mut().find(|(other, _)| *other == doubling) {
            Some((_, sum)) => *sum = sum.saturating_add(*count),
            None => sums.push((doubling, *count)),
        }
    }
    let shares = shares(0, sums).cells;
    (!shares.is_empty()).then(|| Doublings { name: case.protocol.clone(), shares })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_quarter_of_a_doubling() {
        assert!((bucket_begins_us(0) - 1.0).abs() < 1e-12);
        assert!((bucket_begins_us(40) - 1_024.0).abs() < 1e-9);
        assert!(bucket_begins_us(-4) < 1.0);
    }

    #[test]
    fn shares_add_up_to_one() {
        let column = shares(3, vec![(9, 1), (7, 3)]);
        assert_eq!(column.cells, [(7, 0.75), (9, 0.25)]);
        assert!(shares(0, Vec::new()).cells.is_empty());
    }
}
