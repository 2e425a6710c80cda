//! What the run observes beside receipts: what the processes used, how the generator's own threads and its canary
//! fared, and what the machine did. Everything is read from outside the workers: a receipt pays nothing for it.

use hdrhistogram::Histogram;
use lastmile_reports::schema::{Health, LatencySummary, ResourcePoint, ThreadUse};
use rustix::thread::CpuSet;

use crate::canary::{self, Canary};
use crate::clock::{self, SECOND_NS};
use crate::host::HostCounters;
use crate::observe::{Observed, ThreadUsage, Usage};
use crate::publisher;
use crate::recorder::add_histogram;
use crate::stack::Stack;

/// Time between two looks at the generator's threads.
const THREADS_LOOK_NS: u64 = SECOND_NS / 4;
/// A rest of a second shorter than this makes no point of its own: its cores would be all noise.
const SHORTEST_POINT_NS: u64 = SECOND_NS / 4;

/// What processes spent over the measured window; `None` for what can't be observed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Costs {
    /// The server.
    pub server: Option<Cost>,
    /// Redis.
    pub redis: Option<Cost>,
    /// This program.
    pub generator: Option<Cost>,
}

/// What one process spent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Processor time from before the first connection until all subscribers were attached.
    pub attaching_cpu_ns: u64,
    /// Processor time over the window.
    pub cpu_ns: u64,
    /// Resident memory at its end.
    pub resident_bytes: u64,
    /// Growth of it since before the first connection.
    pub grown_bytes: i64,
}

/// How the generator and its host did over one or more windows.
#[derive(Debug, Clone, Default)]
pub struct Wellbeing {
    /// The generator's threads, the largest share of a core over the windows.
    pub threads: Vec<ThreadUse>,
    /// Delays of the canary in nanoseconds.
    pub canary: Option<Histogram<u64>>,
    /// What the machine counted.
    pub host: HostCounters,
}

impl Wellbeing {
    /// Adds another window.
    pub fn merge(&mut self, other: &Self) {
        for theirs in &other.threads {
            match self.threads.iter_mut().find(|mine| mine.name == theirs.name) {
                Some(mine) => {
                    mine.cpu_share = mine.cpu_share.max(theirs.cpu_share);
                    mine.waited_share = mine.waited_share.max(theirs.waited_share);
                }
                None => self.threads.push(theirs.clone()),
            }
        }
        match (&mut self.canary, &other.canary) {
            (Some(mine), Some(theirs)) => add_histogram(mine, theirs),
            (mine, theirs) => *mine = mine.take().or_else(|| theirs.clone()),
        }
        self.host = self.host.plus(&other.host);
    }

    /// As it stands in a result.
    pub fn health(&self) -> Health {
        // Every wake-up is a sample of its own: what they share, a stall, makes many of them late.
        let canary = self.canary.as_ref();
        Health {
            threads: self.threads.clone(),
            canary_us: canary.map(|delays| LatencySummary::from_histogram(delays, delays.len())),
            kernel_to_client_us: None,
            kernel_latency_us: None,
            steal_share: self.host.steal_share(),
            receive_buffer_drops: self.host.receive_buffer_drops,
            throttled_periods: self.host.throttled_periods,
        }
    }
}

/// Server, Redis and this program.
type Processes<T> = [Option<T>; 3];

/// Looks at the processes before the first connection, when the window begins, every second of it, and at its end.
#[derive(Debug)]
pub struct Observation {
    processes: Processes<Observed>,
    before: Processes<Usage>,
    attached: Processes<Usage>,
    window: Option<Window>,
    canary_cores: Option<CpuSet>,
}

#[derive(Debug)]
struct Window {
    begun_ns: u64,
    usages: Processes<Usage>,
    host: HostCounters,
    canary: Option<Canary>,
    threads: Vec<ThreadUsage>,
    /// The same threads, as they were seen last, and when that was.
    latest_threads: Vec<(ThreadUsage, u64)>,
    threads_looked_ns: u64,
    point_begun_ns: u64,
    point_usages: Processes<Usage>,
    points: Vec<ResourcePoint>,
    wellbeing: Wellbeing,
}

impl Observation {
    /// Before the first connection. `subscribers` are the cores that subscribers keep to, where they do.
    pub fn begin(stack: &Stack, subscribers: Option<CpuSet>) -> Self {
        let processes =
            [stack.observed_server(), stack.processes.observed_redis(), Some(Observed::this_process())];
        let before = usages(&processes);
        Self { processes, before, attached: before, window: None, canary_cores: subscribers }
    }

    /// All subscribers are attached.
    pub fn all_attached(&mut self) {
        self.attached = usages(&self.processes);
    }

    /// The window has begun; the first call counts.
    pub fn window_begins(&mut self) {
        if self.window.is_some() {
            return;
        }
        let usages = usages(&self.processes);
        let threads = Observed::this_process().threads().unwrap_or_default();
        let host = HostCounters::read();
        // A system without a thread to spare is told by the workers; this one is only missed.
        let canary = Canary::start(self.canary_cores).ok();
        let now_ns = clock::now_ns();
        self.window = Some(Window {
            begun_ns: now_ns,
            usages,
            host,
            canary,
            latest_threads: threads.iter().map(|thread| (thread.clone(), now_ns)).collect(),
            threads,
            threads_looked_ns: now_ns,
            point_begun_ns: now_ns,
            point_usages: quick_usages(&self.processes),
            points: Vec::new(),
            wellbeing: Wellbeing::default(),
        });
    }

    /// Another look; to be called many times a second while the window lasts.
    pub fn look(&mut self) {
        let Some(window) = &mut self.window else { return };
        let now_ns = clock::now_ns();
        if now_ns - window.threads_looked_ns >= THREADS_LOOK_NS {
            window.look_at_threads(now_ns);
        }
        if now_ns - window.point_begun_ns >= SECOND_NS {
            window.make_point(&self.processes, now_ns);
        }
    }

    /// Everything of the window has been published.
    pub fn window_ends(&mut self) {
        let Some(window) = &mut self.window else { return };
        let now_ns = clock::now_ns();
        let canary = window.canary.take().map(Canary::stop);
        window.look_at_threads(now_ns);
        if now_ns - window.point_begun_ns >= SHORTEST_POINT_NS {
            window.make_point(&self.processes, now_ns);
        }
        window.wellbeing = Wellbeing {
            threads: window.thread_use(),
            canary,
            host: HostCounters::read().since(&window.host),
        };
    }

    /// All that can still arrive has arrived: the costs, how generator and host did, and a point a second.
    pub fn end(self) -> (Costs, Wellbeing, Vec<ResourcePoint>) {
        let now = usages(&self.processes);
        // Interrupted before the window: there is no outcome either.
        let at_window = self.window.as_ref().map_or(now, |window| window.usages);
        let cost = |index: usize| {
            let (before, at_window, now) = (self.before[index]?, at_window[index]?, now[index]?);
            let attached = self.attached[index]?;
            Some(Cost {
                attaching_cpu_ns: attached.cpu_ns.saturating_sub(before.cpu_ns),
                cpu_ns: now.cpu_ns.saturating_sub(at_window.cpu_ns),
                resident_bytes: now.resident_bytes,
                grown_bytes: now.resident_bytes as i64 - before.resident_bytes as i64,
            })
        };
        let costs = Costs { server: cost(0), redis: cost(1), generator: cost(2) };
        let (wellbeing, points) =
            self.window.map(|window| (window.wellbeing, window.points)).unwrap_or_default();
        (costs, wellbeing, points)
    }
}

impl Window {
    fn look_at_threads(&mut self, now_ns: u64) {
        self.threads_looked_ns = now_ns;
        // One that has ended stays as it was seen last.
        for thread in Observed::this_process().threads().unwrap_or_default() {
            if let Some(known) = self.latest_threads.iter_mut().find(|(known, _)| known.id == thread.id) {
                *known = (thread, now_ns);
            }
        }
    }

    /// The threads that were there when the window began. The canary is not one that could be too busy.
    fn thread_use(&self) -> Vec<ThreadUse> {
        let pairs = self.threads.iter().zip(&self.latest_threads);
        let seen = pairs
            .filter(|(thread, (_, seen_ns))| thread.name != canary::THREAD_NAME && *seen_ns > self.begun_ns);
        seen.map(|(first, (last, seen_ns))| {
            let share = |then_ns: u64, now_ns: u64| {
                now_ns.saturating_sub(then_ns) as f64 / (seen_ns - self.begun_ns) as f64
            };
            ThreadUse {
                name: first.name.clone(),
                cpu_share: share(first.cpu_ns, last.cpu_ns),
                waited_share: share(first.waited_ns, last.waited_ns),
                spins: first.name == publisher::THREAD_NAME,
            }
        })
        .collect()
    }

    fn make_point(&mut self, processes: &Processes<Observed>, now_ns: u64) {
        let now = quick_usages(processes);
        let length_ns = (now_ns - self.point_begun_ns) as f64;
        let cores = |index: usize| {
            let (now, then): (Usage, Usage) = (now[index]?, self.point_usages[index]?);
            Some(now.cpu_ns.saturating_sub(then.cpu_ns) as f64 / length_ns)
        };
        let resident = |index: usize| now[index].map(|usage| usage.resident_bytes);
        self.points.push(ResourcePoint {
            second: self.points.len() as u32,
            server_cores: cores(0),
            server_rss_bytes: resident(0),
            redis_cores: cores(1),
            generator_cores: cores(2),
            generator_rss_bytes: resident(2),
        });
        self.point_begun_ns = now_ns;
        self.point_usages = now;
    }
}

fn usages(processes: &Processes<Observed>) -> Processes<Usage> {
    processes.each_ref().map(|process| process.as_ref().and_then(|process| process.usage().ok()))
}

fn quick_usages(processes: &Processes<Observed>) -> Processes<Usage> {
    processes.each_ref().map(|process| process.as_ref().and_then(|process| process.quick_usage().ok()))
}

/// The points of slices behind each other; each begins where the seconds of the one before end.
pub fn behind_each_other<'a>(
    slices: impl Iterator<Item = (&'a [ResourcePoint], usize)>,
) -> Vec<ResourcePoint> {
    let mut all = Vec::new();
    let mut offset = 0;
    for (points, seconds) in slices {
        all.extend(points.iter().map(|point| ResourcePoint { second: point.second + offset, ..*point }));
        offset += seconds.max(points.len()) as u32;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use lastmile_reports::histogram::new_latency_histogram;

    fn use_of(name: &str, cpu_share: f64) -> ThreadUse {
        ThreadUse { name: name.into(), cpu_share, waited_share: cpu_share / 8.0, spins: false }
    }

    #[test]
    fn windows_add_up_to_the_worst_of_each_thread() {
        let mut delays = new_latency_histogram();
        delays.record(60_000).unwrap();
        let one = Wellbeing {
            threads: vec![use_of("a", 0.3), use_of("b", 0.2)],
            canary: Some(delays.clone()),
            host: HostCounters { receive_buffer_drops: Some(2), ..HostCounters::default() },
        };
        let two = Wellbeing { threads: vec![use_of("b", 0.5)], canary: Some(delays), ..one.clone() };
        let mut sum = Wellbeing::default();
        sum.merge(&one);
        sum.merge(&two);
        assert_eq!(sum.threads, [use_of("a", 0.3), use_of("b", 0.5)]);
        let health = sum.health();
        assert_eq!((health.receive_buffer_drops, sum.canary.unwrap().len()), (Some(4), 2));
        // Two wake-ups resolve no quantile, but their largest delay is known.
        let canary = health.canary_us.unwrap();
        assert!(canary.p50.is_none() && canary.max.is_some_and(|us| (us - 60.0).abs() < 0.1), "{canary:?}");
    }

    #[test]
    fn points_of_slices_follow_each_other() {
        let point = |second| ResourcePoint { second, ..ResourcePoint::default() };
        let (one, two) = ([point(0), point(1)], [point(0)]);
        let all = behind_each_other([(&one[..], 3), (&two[..], 1), (&two[..], 1)].into_iter());
        let seconds: Vec<u32> = all.iter().map(|point| point.second).collect();
        assert_eq!(seconds, [0, 1, 3, 4]);
    }
}
