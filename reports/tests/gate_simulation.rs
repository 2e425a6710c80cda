//! The promise of the gate, on simulated machines: at most 1 % false alarms, and what is worse is found.
//!
//! The machine drifts by 10 % over a gate, every block has 5 % of noise of its own, and now and then a block is
//! disturbed. The decision is the real one, with all its metrics, looks and the noise floor. Seeded: these are counts,
//! not chances.

use lastmile_reports::gate::decision::{Outcome, Series, judge, overall};
use lastmile_reports::gate::{Metric, Threshold};
use lastmile_reports::statistics::Looks;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// The metrics of a gate by default, with more than enough publishes.
const METRICS: [Metric; 5] = [Metric::P50, Metric::P99, Metric::CompleteP99, Metric::Cpu, Metric::Memory];
/// A pair of the base with itself after so many pairs.
const NOISE_EVERY: usize = 3;
/// Share of the blocks that something else disturbs, and by how much at most.
const DISTURBED: f64 = 0.03;
const DISTURBANCE: f64 = 0.5;

struct Machine {
    random: SmallRng,
    /// Where in its drift the machine is, and how fast it goes on.
    phase: f64,
    pace: f64,
}

impl Machine {
    fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let phase = random.random_range(0.0..std::f64::consts::TAU);
        // From a slow trend over the whole gate to a wave of ten pairs.
        let pace = random.random_range(0.02..0.3);
        Self { random, phase, pace }
    }

    fn normal(&mut self) -> f64 {
        let (first, second): (f64, f64) =
            (self.random.random_range(f64::MIN_POSITIVE..1.0), self.random.random());
        (-2.0 * first.ln()).sqrt() * (std::f64::consts::TAU * second).cos()
    }

    /// A block of a build that is `factor` times as costly: a figure for each metric, the drift common to all.
    fn block(&mut self, factor: &[f64; 5]) -> [f64; 5] {
        self.phase += self.pace;
        let drift = 1.0 + 0.05 * self.phase.sin();
        let disturbance = if self.random.random_bool(DISTURBED) {
            1.0 + self.random.random_range(0.1..DISTURBANCE)
        } else {
            1.0
        };
        factor.map(|factor| 1_000.0 * factor * drift * disturbance * (0.05 * self.normal()).exp())
    }
}

/// A gate; the candidate is worse by these factors. Ends at the first look that decides.
fn gate(seed: u64, factor: [f64; 5], looks: &Looks) -> Outcome {
    gate_on(&METRICS, seed, factor, looks)
}

/// The same, of fewer metrics.
fn gate_on(metrics: &[Metric], seed: u64, factor: [f64; 5], looks: &Looks) -> Outcome {
    let mut machine = Machine::new(seed);
    let mut series: Vec<Series> = metrics
        .iter()
        .map(|metric| Series {
            case: 0,
            threshold: Threshold::of(*metric),
            pairs: Vec::new(),
            noise: Vec::new(),
        })
        .collect();
    let mut pairs = 0;
    for (index, look) in looks.all().iter().enumerate() {
        while pairs < look.pairs {
            let candidate_first = machine.random.random_bool(0.5);
            let early = machine.block(if candidate_first { &factor } else { &[1.0; 5] });
            let late = machine.block(if candidate_first { &[1.0; 5] } else { &factor });
            let (base, candidate) = if candidate_first { (late, early) } else { (early, late) };
            let again = pairs.is_multiple_of(NOISE_EVERY).then(|| machine.block(&[1.0; 5]));
            for (number, one) in series.iter_mut().enumerate() {
                one.pairs.push((base[number], candidate[number]));
                one.noise.extend(again.map(|again| (base[number], again[number])));
            }
            pairs += 1;
        }
        let outcome = overall(&judge(&series, *look, index + 1 == looks.all().len()));
        if matches!(outcome, Outcome::Regression | Outcome::Pass) {
            return outcome;
        }
    }
    Outcome::Inconclusive
}

/// Of so many gates, the share that ended so.
fn share(gates: u64, factor: [f64; 5], looks: &Looks, outcome: Outcome) -> f64 {
    let ended = (0..gates).filter(|seed| gate(*seed, factor, looks) == outcome).count();
    ended as f64 / gates as f64
}

#[test]
fn equal_builds_raise_at_most_one_false_alarm_in_a_hundred() {
    let looks = Looks::new(&[12, 20, 30], 0.01);
    let alarms = share(2_000, [1.0; 5], &looks, Outcome::Regression);
    println!("false alarms: {:.2} %", alarms * 100.0);
    assert!(alarms <= 0.01, "{alarms}");
}

#[test]
fn equal_builds_pass_in_the_end() {
    let looks = Looks::new(&[12, 20, 30], 0.01);
    let passes = share(300, [1.0; 5], &looks, Outcome::Pass);
    println!("passes: {:.1} %", passes * 100.0);
    assert!(passes >= 0.5, "{passes}");
}

/// A slower server is slower in all it does: latencies and CPU, not memory.
const fn slower(factor: f64) -> [f64; 5] {
    [factor, factor, factor, factor, 1.0]
}

#[test]
fn a_slower_server_is_found_with_twelve_pairs() {
    let looks = Looks::new(&[12], 0.01);
    for (factor, promised) in [(1.2, 0.95), (1.1, 0.70)] {
        let found = share(1_000, slower(factor), &looks, Outcome::Regression);
        println!("× {factor} found with 12 pairs: {:.1} %", found * 100.0);
        assert!(found >= promised, "× {factor}: {found}");
    }
}

#[test]
fn a_single_metric_that_alone_is_judged_is_found_with_twelve_pairs() {
    let looks = Looks::new(&[12], 0.01);
    for (factor, promised) in [(1.2, 0.95), (1.1, 0.70)] {
        let found = (0..1_000)
            .filter(|seed| gate_on(&[Metric::Cpu], *seed, [factor; 5], &looks) == Outcome::Regression);
        let found = found.count() as f64 / 1_000.0;
        println!("CPU alone × {factor} found with 12 pairs: {:.1} %", found * 100.0);
        assert!(found >= promised, "× {factor}: {found}");
    }
}

/// The price of judging five metrics, and what the further looks are for.
#[test]
fn one_metric_among_five_is_found_with_up_to_thirty_pairs() {
    let alone = |factor: f64| [1.0, 1.0, 1.0, factor, 1.0];
    let once = share(500, alone(1.2), &Looks::new(&[12], 0.01), Outcome::Regression);
    println!("one of five × 1.2 found with 12 pairs: {:.1} %", once * 100.0);
    assert!(once >= 0.85, "{once}");
    let looks = Looks::new(&[12, 20, 30], 0.01);
    for (factor, promised) in [(1.2, 0.99), (1.1, 0.85)] {
        let found = share(300, alone(factor), &looks, Outcome::Regression);
        println!("one of five × {factor} found with up to 30 pairs: {:.1} %", found * 100.0);
        assert!(found >= promised, "× {factor}: {found}");
    }
}
