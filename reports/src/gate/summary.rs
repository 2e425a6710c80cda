//! What a gate says: from blocks to series, from judgements to sentences and a table. All renderers draw this.

use crate::figures::{self, fixed, short, time_us};
use crate::view::table::{Cell, Column, Row, Table, Tone};

use super::decision::{Judgement, Outcome, Series};
use super::metric::{Metric, Threshold};
use super::schema::{Block, GateCase, GateResult, Role};

/// A p-value below this is not told more exactly.
const LEAST_P: f64 = 0.0001;

/// The series of every case and threshold out of the blocks, and what is left out with the reason: a metric that no
/// block resolved, where nobody asked for it by name.
pub fn series(
    blocks: &[Block],
    cases: usize,
    thresholds: &[Threshold],
) -> (Vec<Series>, Vec<(usize, Metric)>) {
    let (mut all, mut absent) = (Vec::new(), Vec::new());
    for case in 0..cases {
        for threshold in thresholds {
            let series = series_of(blocks, case, *threshold);
            // Pairs of which one has no figure are no pairs; too many of them gone is noticed by their number.
            if series.pairs.is_empty() && !threshold.is_required {
                absent.push((case, threshold.metric));
            } else {
                all.push(series);
            }
        }
    }
    (all, absent)
}

fn series_of(blocks: &[Block], case: usize, threshold: Threshold) -> Series {
    let sound = || blocks.iter().filter(move |block| block.case == case && block.faults.is_empty());
    let value = |pair: usize, role: Role| {
        sound().find(|block| block.pair == pair && block.role == role)?.value(threshold.metric)
    };
    let pairs = blocks.iter().map(|block| block.pair + 1).max().unwrap_or(0);
    let of = |role: Role| {
        (0..pairs).filter_map(|pair| Some((value(pair, Role::Base)?, value(pair, role)?))).collect()
    };
    Series { case, threshold, pairs: of(Role::Candidate), noise: of(Role::BaseAgain) }
}

/// What blocks that are worthless say of a gate. Deliveries that the candidate loses, repeats or spoils in at least two
/// blocks, and the base in none, are a regression that needs no statistics; in one it might be the machine's doing, and
/// the gate is invalid. What else makes a block worthless is left out with its pair, unless it is more than a tenth.
pub fn faults(blocks: &[Block], cases: &[GateCase]) -> Vec<(Outcome, String)> {
    let mut said = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let of_case: Vec<&Block> = blocks.iter().filter(|block| block.case == index).collect();
        let is_of_deliveries = |block: &&&Block| {
            block
                .faults
                .iter()
                .any(|fault| fault.starts_with("accounting") || fault.starts_with("deliveries"))
        };
        let (candidate, base): (Vec<&Block>, Vec<&Block>) =
            of_case.iter().filter(is_of_deliveries).copied().partition(|block| block.role == Role::Candidate);
        let protocol = &case.protocol;
        if let Some(first) = candidate.first().or(base.first()) {
            let what = first.faults.join(", ");
            said.push(match (candidate.len(), base.len()) {
                (count, 0) if count >= 2 => (
                    Outcome::Regression,
                    format!("{protocol}: the candidate fails in {count} blocks where the base never does: {what} (pair {}).", first.pair + 1),
                ),
                (candidate, base) => (
                    Outcome::Invalid,
                    format!("{protocol}: deliveries failed in {base} blocks of the base and {candidate} of the candidate: {what}."),
                ),
            });
        }
        let other: Vec<&&Block> =
            of_case.iter().filter(|block| !block.faults.is_empty() && !is_of_deliveries(block)).collect();
        if let Some(first) = other.first() {
            let many = other.len() * 10 > of_case.len();
            let what = first.faults.join(", ");
            let text = format!(
                "{protocol}: {} of {} blocks are worthless and left out: {what}.",
                other.len(),
                of_case.len()
            );
            said.push((if many { Outcome::Invalid } else { Outcome::Pass }, text));
        }
    }
    said
}

/// What a judgement says, in a sentence.
pub fn sentence(judgement: &Judgement, cases: &[GateCase]) -> String {
    let metric = judgement.threshold.metric;
    let protocol = cases.get(judgement.case).map_or("", |case| case.protocol.as_str());
    let (Some(change), Some((low, high))) = (judgement.change, judgement.interval) else {
        let reason = judgement.reason.as_deref().unwrap_or("not measured");
        return format!("{protocol}: {} can't be judged: {reason}.", metric.words());
    };
    let figures = match (judgement.base, judgement.candidate) {
        (Some(base), Some(candidate)) => {
            format!(
                " ({} → {}, median of {} pairs)",
                value(metric, base),
                value(metric, candidate),
                judgement.pairs
            )
        }
        _ => String::new(),
    };
    let sure = judgement.p_adjusted.map(how_sure).unwrap_or_default();
    let threshold = percent(judgement.threshold.change);
    let interval = format!("95 % interval {} … {}", signed(low), signed(high));
    match judgement.outcome {
        Outcome::Regression => format!(
            "{protocol}: {} is {} {}{figures}; {interval}, {sure}; allowed are {threshold}.",
            metric.words(),
            percent(change),
            metric.worse(),
        ),
        Outcome::Pass => format!(
            "{protocol}: {} changed by {}; {interval}; allowed are {threshold}.",
            metric.words(),
            signed(change)
        ),
        Outcome::Inconclusive | Outcome::Invalid => {
            let reason = judgement
                .reason
                .as_ref()
                .map_or_else(|| "neither a regression nor its absence is sure".to_owned(), Clone::clone);
            format!(
                "{protocol}: {} changed by {}; {interval}, {sure}; {reason}.",
                metric.words(),
                signed(change)
            )
        }
    }
}

/// What a pass says: how much worse each metric can be at most.
pub fn passed(judgements: &[Judgement], cases: &[GateCase]) -> String {
    let bounds = judgements.iter().filter_map(|judgement| {
        let (_, high) = judgement.interval?;
        let protocol = cases.get(judgement.case).map_or("", |case| case.protocol.as_str());
        let name = judgement.threshold.metric.name();
        Some(format!("{protocol} {name} {} (at most {})", signed(judgement.change?), signed(high)))
    });
    format!("No metric got worse than allowed: {}.", bounds.collect::<Vec<_>>().join(", "))
}

/// Where thresholds are finer than this machine can hold: those at which equal builds pass, as flags.
pub fn holdable(judgements: &[Judgement]) -> Option<String> {
    let mut flags: Vec<(Metric, f64)> = Vec::new();
    for judgement in judgements {
        let Some(least) = judgement.least_threshold() else { continue };
        let metric = judgement.threshold.metric;
        if least <= judgement.threshold.limit(judgement.base) {
            continue;
        }
        match flags.iter_mut().find(|(known, _)| *known == metric) {
            Some((_, largest)) => *largest = largest.max(least),
            None => flags.push((metric, least)),
        }
    }
    let pairs = judgements.iter().map(|judgement| judgement.pairs).max().unwrap_or(0);
    let flag = |(metric, least): &(Metric, f64)| format!("{}={:.0}%", metric.name(), (least * 100.0).ceil());
    let flags = flags.iter().map(flag).collect::<Vec<_>>().join(",");
    (!flags.is_empty()).then(|| {
        format!(
            "By the noise of these blocks, equal builds pass in 95 of 100 gates of {pairs} pairs with --threshold {flags}; more \
             pairs or longer blocks hold finer ones."
        )
    })
}

/// What the checks of single blocks object to, counted. It touched base and candidate alike.
pub fn objections(blocks: &[Block]) -> Vec<String> {
    let mut counts: Vec<(&str, usize, &str)> = Vec::new();
    for (name, text) in
        blocks.iter().flat_map(|block| &block.objections).filter_map(|text| text.split_once(": "))
    {
        match counts.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, count, _)) => *count += 1,
            None => counts.push((name, 1, text)),
        }
    }
    let said = |(name, count, example): (&str, usize, &str)| {
        format!(
            "In {count} of {} blocks the check \u{201c}{name}\u{201d} objects ({example}); base and candidate were measured in turn, and \
             the noise floor contains it.",
            blocks.len()
        )
    };
    counts.into_iter().map(said).collect()
}

/// A p-value in a sentence.
pub fn how_sure(p: f64) -> String {
    if p < LEAST_P { format!("p {}", probability(p)) } else { format!("p = {}", probability(p)) }
}

/// A p-value: three digits, or that it is smaller than anything worth telling.
pub fn probability(p: f64) -> String {
    if p < LEAST_P { "< 0.0001".to_owned() } else { format!("{p:.4}") }
}

/// A relative change with its sign, in percent.
pub fn signed(change: f64) -> String {
    let text = percent(change);
    if change > 0.0 && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) {
        format!("+{text}")
    } else {
        text
    }
}

/// A share in percent, one decimal below ten.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    format!("{} %", fixed(percent, usize::from(percent.abs() < 9.95 && percent.fract() != 0.0)))
}

/// A figure of a metric with its unit, in short.
pub fn value(metric: Metric, value: f64) -> String {
    match metric {
        _ if metric.is_latency() => time_us(value),
        Metric::Cpu => format!("{} µs/delivery", short(value)),
        Metric::Memory => figures::bytes(value),
        _ => format!("{}/s", figures::count(value)),
    }
}

/// The table of all judgements.
pub fn table(result: &GateResult) -> Table {
    let columns = vec![
        Column::words("metric", "Protocol and what is compared"),
        Column::figures("", "base", "", "Median over the base's blocks"),
        Column::figures("", "candidate", "", "Median over the candidate's blocks"),
        Column::figures("", "change", "%", "Hodges–Lehmann estimate over the pairs; above 0 is worse"),
        Column::figures("", "95 % interval", "%", "Distribution-free interval of the change"),
        Column::figures("", "allowed", "%", "Threshold; with the least absolute change that counts"),
        Column::figures(
            "",
            "p",
            "",
            "Exact one-sided signed-rank test that it is not worse, adjusted after Holm",
        ),
        Column::figures("", "noise floor", "%", "What so many pairs of equal builds differ by"),
        Column::words("outcome", "The decision"),
    ];
    let rows = result
        .judgements
        .iter()
        .map(|judgement| Row { slot: None, cells: cells(judgement, result) })
        .collect();
    Table { caption: "Every metric, candidate against base".to_owned(), columns, rows }
}

fn cells(judgement: &Judgement, result: &GateResult) -> Vec<Cell> {
    let metric = judgement.threshold.metric;
    let reason = judgement.reason.clone().unwrap_or_else(|| "not measured".to_owned());
    let figure = |of: Option<f64>, text: &dyn Fn(f64) -> String| {
        of.map_or_else(|| Cell::absent(reason.clone()), |of| Cell::plain(text(of)))
    };
    let bare = |change: f64| signed(change).trim_end_matches(" %").to_owned();
    let protocol = result.cases.get(judgement.case).map_or("", |case| case.protocol.as_str());
    let interval = judgement.interval.map_or_else(
        || Cell::absent(reason.clone()),
        |(low, high)| Cell::plain(format!("{} … {}", bare(low), bare(high))),
    );
    let tone = if judgement.outcome == Outcome::Regression { Tone::Bad } else { Tone::Plain };
    vec![
        Cell::plain(format!("{protocol} {}", metric.name())),
        figure(judgement.base, &|base| value(metric, base)),
        figure(judgement.candidate, &|candidate| value(metric, candidate)),
        Cell { tone, ..figure(judgement.change, &bare) },
        interval,
        Cell::plain(percent(judgement.threshold.change).trim_end_matches(" %").to_owned()),
        figure(judgement.p_adjusted, &probability),
        figure(judgement.noise_floor, &|floor| bare(floor).trim_start_matches('+').to_owned()),
        Cell { tone, remark: judgement.reason.clone(), ..Cell::plain(judgement.outcome.word()) },
    ]
}

/// `candidate` against `base`, by the names they were asked for.
pub fn title(result: &GateResult) -> String {
    format!("{} against {}", name(&result.candidate), name(&result.base))
}

fn name(build: &super::schema::Build) -> String {
    let name = match &build.revision {
        Some(revision) if !revision.starts_with(&build.name) => {
            format!("{} ({})", build.name, revision.chars().take(12).collect::<String>())
        }
        _ => build.name.clone(),
    };
    std::iter::once(name).chain(build.arguments.iter().cloned()).collect::<Vec<_>>().join(" ")
}

/// How it was measured, in one line.
pub fn method(result: &GateResult) -> String {
    let pairs = result.judgements.iter().map(|judgement| judgement.pairs).max().unwrap_or(0);
    format!(
        "{} blocks, {pairs} pairs, {}, {} s; false alarms at most {} per gate",
        result.blocks.len(),
        result.mode,
        fixed(result.elapsed_s, 0),
        percent(result.alpha)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Accounting;

    fn block(pair: usize, role: Role, value: f64, fault: Option<&str>) -> Block {
        Block {
            case: 0,
            pair,
            role,
            at_s: 0.0,
            values: vec![(Metric::P50, value)],
            accounting: Accounting::default(),
            faults: fault.map(str::to_owned).into_iter().collect(),
            objections: Vec::new(),
        }
    }

    fn cases() -> Vec<GateCase> {
        vec![GateCase { protocol: "ws".into(), load: String::new() }]
    }

    #[test]
    fn pairs_are_found_whatever_their_order_and_without_worthless_blocks() {
        let blocks = [
            block(0, Role::Candidate, 2.0, None),
            block(0, Role::Base, 1.0, None),
            block(1, Role::Base, 3.0, None),
            block(1, Role::Candidate, 4.0, Some("lost")),
            block(2, Role::Base, 5.0, None),
            block(2, Role::BaseAgain, 6.0, None),
        ];
        let (series, absent) = series(&blocks, 1, &[Threshold::of(Metric::P50), Threshold::of(Metric::Cpu)]);
        assert_eq!(series.len(), 1);
        assert_eq!(series[0].pairs, [(1.0, 2.0)]);
        assert_eq!(series[0].noise, [(5.0, 6.0)]);
        assert_eq!(absent, [(0, Metric::Cpu)]);
    }

    #[test]
    fn a_metric_asked_for_by_name_is_not_silently_absent() {
        let required = Threshold::parse("cpu=5%").unwrap();
        let (series, absent) = series(&[block(0, Role::Base, 1.0, None)], 1, &[required]);
        assert!(series[0].pairs.is_empty() && absent.is_empty());
    }

    #[test]
    fn faults_of_the_candidate_alone_are_a_regression_and_others_make_it_invalid() {
        let lost = Some("accounting: 3 lost");
        let twice = [block(0, Role::Candidate, 1.0, lost), block(4, Role::Candidate, 1.0, lost)];
        let said = faults(&twice, &cases());
        assert_eq!(said[0].0, Outcome::Regression);
        assert!(said[0].1.contains("2 blocks") && said[0].1.contains("3 lost"), "{said:?}");
        assert_eq!(faults(&twice[..1], &cases())[0].0, Outcome::Invalid);
        let both = [block(0, Role::Candidate, 1.0, lost), block(4, Role::Base, 1.0, lost)];
        assert_eq!(faults(&both, &cases())[0].0, Outcome::Invalid);
        assert!(faults(&[block(0, Role::Base, 1.0, None)], &cases()).is_empty());
    }

    #[test]
    fn a_few_blocks_that_the_machine_spoils_are_left_out_and_many_are_too_many() {
        let mut blocks: Vec<Block> = (0..12).map(|pair| block(pair, Role::Base, 1.0, None)).collect();
        blocks.push(block(12, Role::Candidate, 1.0, Some("achieved rate: 90 of 100")));
        assert_eq!(faults(&blocks, &cases())[0].0, Outcome::Pass);
        blocks.push(block(13, Role::Candidate, 1.0, Some("achieved rate: 90 of 100")));
        assert_eq!(faults(&blocks, &cases())[0].0, Outcome::Invalid);
    }

    #[test]
    fn thresholds_that_can_be_held_are_told_as_flags() {
        let judgement = |metric: Metric, case: usize, noise_floor: f64| Judgement {
            case,
            threshold: Threshold::of(metric),
            outcome: Outcome::Inconclusive,
            reason: None,
            pairs: 12,
            base: Some(1_000.0),
            candidate: Some(1_000.0),
            change: Some(0.0),
            interval: Some((-noise_floor, noise_floor)),
            p: Some(0.5),
            p_adjusted: Some(1.0),
            alpha: 0.005,
            noise_floor: Some(noise_floor),
            changes: Vec::new(),
            noise_changes: Vec::new(),
        };
        let judgements = [
            judgement(Metric::P50, 0, 0.04),
            judgement(Metric::P50, 1, 0.06),
            judgement(Metric::Cpu, 0, 0.02),
            // 256 B of 1,000 are more than noise.
            judgement(Metric::Memory, 0, 0.12),
        ];
        let said = holdable(&judgements).unwrap();
        assert!(said.contains("with --threshold p50=12%;"), "{said}");
        assert_eq!(holdable(&judgements[2..]), None);
    }

    #[test]
    fn changes_have_signs() {
        assert_eq!(signed(0.2), "+20 %");
        assert_eq!(signed(-0.051), "−5.1 %");
        assert_eq!(signed(0.0), "0 %");
        assert_eq!(probability(0.000_01), "< 0.0001");
    }
}
