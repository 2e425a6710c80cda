//! Where the time of a message goes, leg by leg: its planned and sent times are the generator's, arrival and writes
//! the server's (`--stages`, told at `/debug/stages` once a slice is over), the kernel's and the client's receipts
//! again the generator's. All of one host, all of one clock.
//!
//! *Write* is the moment the server begins to write the message to the first of its subscribers. What a subscriber
//! further behind waits for its turn is part of the leg after it; how long all the turns take is a figure of its own,
//! `first to last write`. Of one delivery, the legs from planned to client add up to its latency.

use std::collections::HashMap;
use std::io;

use hdrhistogram::Histogram;
use lastmile_reports::histogram::new_latency_histogram;
use lastmile_reports::schema::{LatencySummary, Stage};

use crate::receipt_log::ReceiptLog;
use crate::recorder::{add_histogram, record};
use crate::target::{Target, get, get_encrypted};
use crate::timetable::Timetable;

/// When the server had a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerTimes {
    /// Its bytes arrived from Redis.
    pub ingested_ns: u64,
    /// The first subscriber's write began, and the last one's had ended; `None` where it was written to nobody.
    pub written_ns: Option<(u64, u64)>,
}

/// The server's times of all rounds it remembers, by identifier; `None` where it does not tell them.
///
/// # Errors
/// What the system said, or that the answer is none.
pub fn read_server_times(target: &Target) -> io::Result<Option<HashMap<u64, ServerTimes>>> {
    let ask = |path: &str| match (&target.http, &target.https) {
        (Some(http), _) => get(http, path).map(Some),
        (None, Some(https)) => get_encrypted(https, path).map(Some),
        (None, None) => Ok(None),
    };
    let mut times = HashMap::new();
    let mut after = 0;
    loop {
        let Some((status, text)) = ask(&format!("/debug/stages?after={after}"))? else { return Ok(None) };
        if status != 200 {
            return Ok(None);
        }
        let next = read_answer(&text, &mut times).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "/debug/stages answered something else than times")
        })?;
        if next <= after {
            return Ok(Some(times));
        }
        after = next;
    }
}

/// Reads an answer of the server and tells the number to go on with.
fn read_answer(text: &str, times: &mut HashMap<u64, ServerTimes>) -> Option<u64> {
    let mut lines = text.lines();
    let next = lines.next()?.strip_prefix("next ")?.parse().ok()?;
    for line in lines {
        let numbers: Vec<u64> = line.split(' ').map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let [round_id, ingested_ns, first_ns, last_ns] = numbers[..] else { return None };
        let written_ns = (last_ns > 0).then_some((first_ns, last_ns));
        times.insert(round_id, ServerTimes { ingested_ns, written_ns });
    }
    Some(next)
}

/// The legs there can be, in the order a message passes them, as they are called in a result.
const LEGS: [&str; 9] = [
    "planned to sent",
    "sent to ingest",
    "ingest to write",
    "first to last write",
    "sent to kernel",
    "sent to client",
    "write to kernel",
    "write to client",
    "kernel to client",
];
const PLANNED_TO_SENT: usize = 0;
const SENT_TO_INGEST: usize = 1;
const INGEST_TO_WRITE: usize = 2;
const FIRST_TO_LAST_WRITE: usize = 3;
const SENT_TO_KERNEL: usize = 4;
const SENT_TO_CLIENT: usize = 5;
const WRITE_TO_KERNEL: usize = 6;
const WRITE_TO_CLIENT: usize = 7;
const KERNEL_TO_CLIENT: usize = 8;

/// The legs of one slice's messages, or of several slices'.
#[derive(Debug, Clone)]
pub struct Stages {
    legs: Vec<Histogram<u64>>,
    /// Messages that were looked at.
    messages: u64,
    /// Of these, those the server did not remember any more.
    pub forgotten: u64,
    /// Legs that came out negative or beyond the range.
    pub out_of_range: u64,
}

impl Default for Stages {
    fn default() -> Self {
        let legs = LEGS.iter().map(|_| new_latency_histogram()).collect();
        Self { legs, messages: 0, forgotten: 0, out_of_range: 0 }
    }
}

impl Stages {
    /// The legs of the messages that `logs` keep the exact receipts of, of which the first `published` were sent.
    /// Without the server's times, its part and what comes after are one leg.
    pub fn of(
        logs: &[ReceiptLog],
        table: &Timetable,
        published: usize,
        server: Option<&HashMap<u64, ServerTimes>>,
    ) -> Self {
        let mut stages = Self::default();
        let Some(extent) = logs.first().map(ReceiptLog::extent) else { return stages };
        for row in 0..extent.rows_of(published) {
            let index = extent.index_of(row);
            let Some(times) = table.times_of(index) else { continue };
            stages.messages += 1;
            stages.leg(PLANNED_TO_SENT, times.planned_ns, times.sent_ns);
            let known = server.and_then(|server| server.get(&table.id_of(index)));
            stages.forgotten += u64::from(server.is_some() && known.is_none());
            let mut delivery = (times.sent_ns, SENT_TO_KERNEL, SENT_TO_CLIENT);
            if let Some(known) = known {
                stages.leg(SENT_TO_INGEST, times.sent_ns, known.ingested_ns);
                if let Some((first_ns, last_ns)) = known.written_ns {
                    stages.leg(INGEST_TO_WRITE, known.ingested_ns, first_ns);
                    stages.leg(FIRST_TO_LAST_WRITE, first_ns, last_ns);
                    delivery = (first_ns, WRITE_TO_KERNEL, WRITE_TO_CLIENT);
                }
            } else if server.is_some() {
                // One leg of it would stand for another.
                continue;
            }
            let (from_ns, to_kernel, to_client) = delivery;
            for (received_ns, kernel_ns) in logs.iter().flat_map(|log| log.exact_receipts(row)) {
                match kernel_ns {
                    None => stages.leg(to_client, from_ns, received_ns),
                    Some(kernel_ns) => {
                        stages.leg(to_kernel, from_ns, kernel_ns);
                        stages.leg(KERNEL_TO_CLIENT, kernel_ns, received_ns);
                    }
                }
            }
        }
        stages
    }

    fn leg(&mut self, leg: usize, from_ns: u64, to_ns: u64) {
        match to_ns.checked_sub(from_ns) {
            Some(ns) => record(&mut self.legs[leg], ns, &mut self.out_of_range),
            None => self.out_of_range += 1,
        }
    }

    /// Adds those of another slice.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.legs.iter_mut().zip(&other.legs) {
            add_histogram(mine, theirs);
        }
        self.messages += other.messages;
        self.forgotten += other.forgotten;
        self.out_of_range += other.out_of_range;
    }

    /// The legs that were taken, in the order a message passes them.
    pub fn summary(&self) -> Vec<Stage> {
        let taken = LEGS.iter().zip(&self.legs).filter(|(_, legs)| !legs.is_empty());
        taken
            .map(|(name, leg)| Stage {
                name: (*name).to_owned(),
                latency_us: LatencySummary::from_histogram(leg, self.messages - self.forgotten),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::time::Duration;

    use super::*;
    use crate::channels::Turns;
    use crate::receipt_log::{Detail, Extent, MOST_BYTES};
    use crate::schedule::{Arrivals, Schedule};

    const FIRST_ID: u64 = 300_000_000_000_000;

    /// Ten messages, all sent 10 µs late; two subscribers, the second 100 µs after the first. The kernel's stamps are
    /// 5 µs before the client's, where they are taken.
    fn taken(detail: Detail, server: Option<&HashMap<u64, ServerTimes>>) -> Stages {
        let schedule = Schedule::new(Arrivals::Constant, 10.0, Duration::ZERO, Duration::from_secs(1), 0);
        let table = Timetable::new(schedule, FIRST_ID);
        table.begin(1_000_000);
        let mut log = ReceiptLog::new(Extent::new(0, 10, 2, detail, MOST_BYTES), 2, Turns::new(1));
        for index in 0..10 {
            let planned_ns = table.planned_ns(index);
            table.note_sent(index, planned_ns + 10_000);
            for subscriber in 0..2 {
                let latency_ns = 200_000 + 100_000 * subscriber as u64;
                let received_ns = planned_ns + latency_ns;
                log.note(index, subscriber, latency_ns, received_ns, Some(received_ns - 5_000));
            }
        }
        Stages::of(&[log], &table, 10, server)
    }

    fn server_times() -> HashMap<u64, ServerTimes> {
        let mut text = "next 10\n".to_owned();
        for index in 0..10 {
            let sent_ns = 1_000_000 + index * 100_000_000 + 10_000;
            let [ingested_ns, first_ns, last_ns] =
                [20_000, 30_000, 150_000].map(|after_ns| sent_ns + after_ns);
            writeln!(text, "{} {ingested_ns} {first_ns} {last_ns}", FIRST_ID + index).unwrap();
        }
        let mut times = HashMap::new();
        assert_eq!(read_answer(&text, &mut times), Some(10));
        times
    }

    fn medians(stages: &Stages) -> Vec<(String, u64)> {
        let median = |stage: &Stage| stage.latency_us.p50.unwrap().round() as u64;
        stages.summary().iter().map(|stage| (stage.name.clone(), median(stage))).collect()
    }

    fn named(legs: &[(&str, u64)]) -> Vec<(String, u64)> {
        legs.iter().map(|(name, us)| ((*name).to_owned(), *us)).collect()
    }

    #[test]
    fn every_leg_is_told_with_its_name() {
        let expected = [
            ("planned to sent", 10),
            ("sent to ingest", 20),
            ("ingest to write", 10),
            ("first to last write", 120),
            ("write to kernel", 155),
            ("kernel to client", 5),
        ];
        let stages = taken(Detail::Kernel, Some(&server_times()));
        assert_eq!(medians(&stages), named(&expected));
        // Half of the deliveries take 100 µs longer; of each, the legs add up.
        let to_kernel = &stages.summary()[4].latency_us;
        assert!((to_kernel.max.unwrap() - 255.0).abs() < 1.0, "{to_kernel:?}");
        assert_eq!((stages.forgotten, stages.out_of_range), (0, 0));
    }

    #[test]
    fn what_is_not_known_makes_one_leg_of_two() {
        let without_kernel = taken(Detail::Client, Some(&server_times()));
        let last = medians(&without_kernel).pop();
        assert_eq!(last, named(&[("write to client", 160)]).pop());
        let without_server = taken(Detail::Client, None);
        assert_eq!(medians(&without_server), named(&[("planned to sent", 10), ("sent to client", 190)]));
        assert_eq!(
            taken(Detail::Codes, None).summary().len(),
            1,
            "without receipts only what was sent is known"
        );
    }

    #[test]
    fn what_the_server_forgot_and_what_can_not_be_is_counted() {
        let mut times = server_times();
        times.remove(&FIRST_ID);
        times.get_mut(&(FIRST_ID + 1)).unwrap().ingested_ns = 1;
        let stages = taken(Detail::Client, Some(&times));
        assert_eq!((stages.forgotten, stages.out_of_range), (1, 1));
        let mut sum = stages.clone();
        sum.merge(&stages);
        assert_eq!((sum.messages, sum.forgotten, sum.out_of_range), (20, 2, 2));
    }

    #[test]
    fn an_answer_that_is_none_is_refused() {
        for text in ["", "nothing", "next x\n", "next 1\n1 2 3\n", "next 1\n1 2 3 four\n"] {
            assert_eq!(read_answer(text, &mut HashMap::new()), None, "{text}");
        }
    }
}
