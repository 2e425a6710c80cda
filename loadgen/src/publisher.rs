//! The open-loop publisher: follows the timetable whatever the server does, on a thread of its own.
//!
//! It is the only part that sleeps and spins. When it falls behind (Redis takes no more, the machine is busy) it
//! publishes at once what is due, and the planned times stay what they were: the delay is part of the latency.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hdrhistogram::Histogram;
use lastmile_reports::histogram::new_latency_histogram;
use rustix::thread::CpuSet;

use crate::clock;
use crate::cores::keep_this_thread_to;
use crate::feed::FeedConnection;
use crate::in_flight::InFlight;
use crate::message::MessageTemplate;
use crate::recorder::record;
use crate::redis::Replies;
use crate::timetable::Timetable;

/// The name of its thread.
pub const THREAD_NAME: &str = "publisher";
/// Longest stretch spun before a message is due: what a sleep oversleeps on an idle machine.
const LONGEST_SPIN_NS: u64 = 80_000;
/// The spin takes at most this part of the gap between two messages: a publisher that spins all the time would
/// take a core from what it measures.
const SPIN_SHARE: u64 = 10;
/// Longest sleep without looking whether the slice was stopped.
const LONGEST_SLEEP_NS: u64 = 20_000_000;
/// Messages that are due together are written together, up to this many bytes and messages.
const BATCH: (usize, usize) = (64 * 1024, 64);
/// Closed loop: how long a message may be on its way before the loop goes on without it.
const CLOSED_LOOP_PATIENCE_NS: u64 = clock::SECOND_NS;
/// How long the last replies are waited for.
const LAST_REPLIES_NS: u64 = clock::SECOND_NS;

/// What a publisher did.
#[derive(Debug, Clone)]
pub struct Published {
    /// Messages written, warm-up included. They are the first of the timetable.
    pub messages: usize,
    /// Sent − planned of the measured messages.
    pub slip: Histogram<u64>,
    /// Slips beyond the histogram's range.
    pub out_of_range: u64,
    /// When the last one was written.
    pub last_sent_ns: u64,
    /// Closed loop: messages sent in each second of the measured window.
    pub by_second: Vec<u64>,
    /// Closed loop: messages that were no longer waited for.
    pub given_up: u64,
    /// Closed loop: it went on until the end of the window.
    pub is_whole: bool,
    /// What Redis answered.
    pub replies: Replies,
    /// Why it ended before its time: the connection to Redis broke.
    pub failure: Option<String>,
}

/// A publisher at work, which one slice follows, or several that are measured at once.
#[derive(Debug)]
pub struct Publisher {
    /// Until somebody has waited for its end.
    thread: Mutex<Option<JoinHandle<Published>>>,
    published: OnceLock<Published>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    sent: AtomicU64,
    answered: AtomicU64,
    unheard: AtomicU64,
}

impl Publisher {
    /// Begins to publish `messages`, in turn, each to the stream of the game beside it, as `table` says or as fast as
    /// `in_flight` allows. There is at least one of them, and the table must have begun. It runs on `cores`, or where
    /// this thread may.
    ///
    /// # Errors
    /// What the system said when it refused a thread.
    pub fn start<'a>(
        connection: FeedConnection,
        messages: impl IntoIterator<Item = (&'a str, &'a MessageTemplate)>,
        table: Arc<Timetable>,
        in_flight: Option<Arc<InFlight>>,
        cores: Option<CpuSet>,
    ) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let mut work = Work {
            batch: Batch::new(&connection, messages),
            published: Published {
                messages: 0,
                slip: new_latency_histogram(),
                out_of_range: 0,
                last_sent_ns: 0,
                by_second: vec![0; table.seconds()],
                given_up: 0,
                is_whole: false,
                replies: connection.replies(),
                failure: None,
            },
            connection,
            table,
            shared: Arc::clone(&shared),
        };
        let thread = thread::Builder::new().name(THREAD_NAME.into()).spawn(move || {
            clock::wake_this_thread_precisely();
            keep_this_thread_to(cores.as_ref());
            let published = match &in_flight {
                None => work.publish_all(),
                Some(in_flight) => work.publish_closed_loop(in_flight),
            };
            if let Err(error) = published.and_then(|()| work.await_last_replies()) {
                let peer = work.connection.peer();
                work.published.failure = Some(format!("the connection to {peer} broke: {error}"));
            }
            work.published
        })?;
        Ok(Self { thread: Mutex::new(Some(thread)), published: OnceLock::new(), shared })
    }

    /// Messages written so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Acquire)
    }

    /// Redis has answered, and each time that nobody is subscribed.
    pub fn is_unheard(&self) -> bool {
        let unheard = self.shared.unheard.load(Ordering::Acquire);
        unheard > 0 && unheard == self.shared.answered.load(Ordering::Acquire)
    }

    /// Everything is published, or it was stopped or failed.
    pub fn is_finished(&self) -> bool {
        match self.thread.try_lock() {
            Ok(thread) => thread.as_ref().is_none_or(JoinHandle::is_finished),
            // Another slice waits for its end already.
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => true,
        }
    }

    /// Ends it within 20 ms; what is due is no longer published.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
    }

    /// Waits for its end and tells what it did.
    pub fn join(&self) -> Published {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let over = thread.take().map(JoinHandle::join);
        let over = over.transpose().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        if let Some(published) = over {
            return self.published.get_or_init(|| published).clone();
        }
        // Gone without a word: it panicked, and whoever asked first has passed that on.
        let gone = || std::panic::resume_unwind(Box::new("the publisher panicked"));
        self.published.get().cloned().unwrap_or_else(gone)
    }
}

/// Ready-made publish commands that only lack their identifiers: a whole turn of the games, and then as many more as
/// are written at once, so that those of any consecutive messages lie behind each other.
#[derive(Debug)]
struct Batch {
    commands: Vec<u8>,
    places: Vec<Place>,
    /// Commands of a turn.
    turn: usize,
    most: usize,
}

/// Where a command ends, and where its message lies.
#[derive(Debug)]
struct Place {
    end: usize,
    message: Range<usize>,
}

impl Batch {
    fn new<'a>(
        connection: &FeedConnection,
        messages: impl IntoIterator<Item = (&'a str, &'a MessageTemplate)>,
    ) -> Self {
        let command = |(slug, template): (&str, &MessageTemplate)| {
            let (command, message_at) = connection.publish_command(slug, template.bytes());
            (command, message_at..message_at + template.bytes().len())
        };
        let turn: Vec<_> = messages.into_iter().map(command).collect();
        let largest = turn.iter().map(|(command, _)| command.len()).max().unwrap_or(1);
        let (most_bytes, most_messages) = BATCH;
        let most = (most_bytes / largest).clamp(1, most_messages);
        let (mut commands, mut places) = (Vec::new(), Vec::new());
        for (command, message) in turn.iter().cycle().take(turn.len() + most - 1) {
            let at = commands.len();
            commands.extend_from_slice(command);
            places.push(Place { end: commands.len(), message: at + message.start..at + message.end });
        }
        Self { commands, places, turn: turn.len().max(1), most }
    }

    /// The commands that publish messages `from .. to`, at most `most` of them.
    fn of(&mut self, table: &Timetable, from: usize, to: usize) -> &[u8] {
        let place = from % self.turn;
        let places = &self.places[place..place + (to - from)];
        for (place, index) in places.iter().zip(from..) {
            MessageTemplate::write_id(&mut self.commands[place.message.clone()], table.id_of(index));
        }
        &self.commands[self.start_of(place)..places.last().map_or(0, |place| place.end)]
    }

    /// How many of the commands for the messages from `from` on are whole in the first `written` bytes.
    fn whole(&self, from: usize, written: usize) -> usize {
        let place = from % self.turn;
        let end = self.start_of(place) + written;
        self.places[place..].partition_point(|place| place.end <= end)
    }

    fn start_of(&self, place: usize) -> usize {
        place.checked_sub(1).map_or(0, |before| self.places[before].end)
    }
}

#[derive(Debug)]
struct Work {
    connection: FeedConnection,
    table: Arc<Timetable>,
    batch: Batch,
    shared: Arc<Shared>,
    published: Published,
}

impl Work {
    fn publish_all(&mut self) -> io::Result<()> {
        while self.published.messages < self.table.len() {
            let from = self.published.messages;
            if !self.await_message(from) {
                return Ok(());
            }
            self.publish_due(from)?;
            self.read_replies()?;
        }
        Ok(())
    }

    /// Until the window is over: whenever the oldest message under way has reached everyone, the next.
    fn publish_closed_loop(&mut self, in_flight: &InFlight) -> io::Result<()> {
        in_flight.wake_this_thread();
        let start_ns = self.table.planned_start_ns();
        clock::sleep_until(start_ns);
        let end_ns = start_ns + self.table.schedule().window_ends_ns();
        let mut oldest = 0;
        let mut oldest_sent_ns = start_ns;
        while !self.shared.stop.load(Ordering::Acquire) && !in_flight.is_deserted() {
            let now_ns = clock::now_ns();
            if now_ns >= end_ns {
                self.published.is_whole = true;
                break;
            }
            let from = self.published.messages;
            while oldest < from && in_flight.is_complete(oldest) {
                oldest += 1;
                oldest_sent_ns = 0;
            }
            let room = in_flight.limit() - (from - oldest);
            if room > 0 {
                self.publish_now(from, from + room.min(self.batch.most), now_ns)?;
                self.read_replies()?;
                continue;
            }
            if oldest_sent_ns == 0 {
                oldest_sent_ns = self.table.times_of(oldest).map_or(now_ns, |times| times.sent_ns);
            }
            if now_ns - oldest_sent_ns > CLOSED_LOOP_PATIENCE_NS {
                self.published.given_up += 1;
                oldest += 1;
                oldest_sent_ns = 0;
                continue;
            }
            thread::park_timeout(Duration::from_nanos(LONGEST_SLEEP_NS.min(end_ns - now_ns)));
        }
        Ok(())
    }

    /// Writes messages in one call.
    fn publish_now(&mut self, from: usize, to: usize, now_ns: u64) -> io::Result<()> {
        let commands = self.batch.of(&self.table, from, to);
        for index in from..to {
            self.table.note_sent(index, now_ns);
        }
        let stop = &self.shared.stop;
        let written =
            self.connection.write(commands, &mut self.published.replies, || stop.load(Ordering::Acquire))?;
        let to = from + self.batch.whole(from, written);
        if let Some(second) = self.table.second_of(now_ns) {
            self.published.by_second[second as usize] += (to - from) as u64;
        }
        self.published.messages = to;
        self.published.last_sent_ns = now_ns;
        self.shared.sent.store(to as u64, Ordering::Release);
        Ok(())
    }

    fn read_replies(&mut self) -> io::Result<()> {
        let replies = &mut self.published.replies;
        self.connection.read_replies(replies)?;
        self.shared.unheard.store(replies.without_subscriber, Ordering::Release);
        self.shared.answered.store(replies.count, Ordering::Release);
        Ok(())
    }

    /// Waits until a message is due; `false` where the slice was stopped before.
    fn await_message(&self, index: usize) -> bool {
        let planned_ns = self.table.planned_ns(index);
        let gap_ns = if index == 0 { u64::MAX } else { planned_ns - self.table.planned_ns(index - 1) };
        let spin_from_ns = planned_ns - LONGEST_SPIN_NS.min(gap_ns / SPIN_SHARE).min(planned_ns);
        loop {
            if self.shared.stop.load(Ordering::Acquire) {
                return false;
            }
            let now_ns = clock::now_ns();
            if now_ns >= spin_from_ns {
                clock::spin_until(planned_ns);
                return true;
            }
            clock::sleep_until(spin_from_ns.min(now_ns + LONGEST_SLEEP_NS));
        }
    }

    /// Writes what is due by now, in one call where several messages are.
    fn publish_due(&mut self, from: usize) -> io::Result<()> {
        let latest = self.table.len().min(from + self.batch.most);
        let mut now_ns = clock::now_ns();
        let mut to = from + 1;
        while to < latest && self.table.planned_ns(to) <= now_ns {
            to += 1;
        }
        let commands = self.batch.of(&self.table, from, to);
        now_ns = now_ns.max(clock::now_ns());
        for index in from..to {
            self.table.note_sent(index, now_ns);
        }
        let stop = &self.shared.stop;
        let written =
            self.connection.write(commands, &mut self.published.replies, || stop.load(Ordering::Acquire))?;
        // Stopped in the middle: Redis never executes the command that was cut.
        let to = from + self.batch.whole(from, written);
        for index in from.max(self.table.schedule().first_measured())..to {
            let slip_ns = now_ns.saturating_sub(self.table.planned_ns(index));
            record(&mut self.published.slip, slip_ns, &mut self.published.out_of_range);
        }
        self.published.messages = to;
        self.published.last_sent_ns = now_ns;
        self.shared.sent.store(to as u64, Ordering::Release);
        Ok(())
    }

    /// Every publish is answered; an error among the last answers is worth a short wait.
    fn await_last_replies(&mut self) -> io::Result<()> {
        let until_ns = clock::now_ns() + LAST_REPLIES_NS;
        while self.published.replies.count < self.published.messages as u64
            && clock::now_ns() < until_ns
            && !self.shared.stop.load(Ordering::Acquire)
        {
            self.connection.wait_for_replies()?;
            self.read_replies()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::message::Game;
    use crate::schedule::{Arrivals, Schedule};

    /// Accepts one publisher and answers its introduction.
    fn accept(listener: &TcpListener) -> BufReader<std::net::TcpStream> {
        let mut reader = BufReader::new(listener.accept().unwrap().0);
        assert_eq!(command(&mut reader).unwrap(), [b"PING"]);
        reader.get_mut().write_all(b"+PONG\r\n").unwrap();
        reader
    }

    fn command(reader: &mut impl BufRead) -> Option<Vec<Vec<u8>>> {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let parts: usize = line.strip_prefix('*')?.trim_end().parse().unwrap();
        (0..parts)
            .map(|_| {
                line.clear();
                reader.read_line(&mut line).unwrap();
                let length: usize = line.strip_prefix('$')?.trim_end().parse().unwrap();
                let mut part = vec![0; length + 2];
                reader.read_exact(&mut part).unwrap();
                part.truncate(length);
                Some(part)
            })
            .collect()
    }

    fn setup(rate: f64, payload: usize, measured: Duration) -> (Arc<Timetable>, MessageTemplate) {
        let schedule = Schedule::new(Arrivals::Constant, rate, Duration::ZERO, measured, 0);
        let game = Game::known("crash").unwrap();
        let template = MessageTemplate::new(&game, payload, time::OffsetDateTime::UNIX_EPOCH, 1).unwrap();
        (Arc::new(Timetable::new(schedule, 300_000_000_000_000)), template)
    }

    fn start(listener: &TcpListener, table: &Arc<Timetable>, template: &MessageTemplate) -> Publisher {
        let url = format!("redis://{}", listener.local_addr().unwrap()).parse().unwrap();
        let connection = crate::feed::Feed::Redis(url).open().unwrap();
        table.begin(clock::now_ns());
        Publisher::start(connection, [("crash", template)], Arc::clone(table), None, None).unwrap()
    }

    #[test]
    fn every_message_is_published_once_in_order_with_its_own_identifier() {
        let (table, template) = setup(5_000.0, 200, Duration::from_millis(100));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let redis = thread::scope(|scope| {
            let redis = scope.spawn(|| {
                let mut reader = accept(&listener);
                let mut received = Vec::new();
                while let Some(command) = command(&mut reader) {
                    reader
                        .get_mut()
                        .write_all(if received.len() == 3 { b":0\r\n" } else { b":1\r\n" })
                        .unwrap();
                    received.push(command);
                }
                received
            });
            let published = start(&listener, &table, &template).join();
            assert_eq!((published.messages, published.slip.len()), (500, 500));
            assert_eq!((published.replies.count, published.replies.without_subscriber), (500, 1));
            assert_eq!(published.failure, None);
            redis.join().unwrap()
        });
        for (index, command) in redis.iter().enumerate() {
            assert_eq!(command[..2], [b"PUBLISH".to_vec(), b"stream:crash".to_vec()]);
            assert_eq!(template.identify(&command[2]), crate::message::Identity::Intact(table.id_of(index)));
            let times = table.times_of(index).expect("sent");
            assert!(times.sent_ns >= times.planned_ns, "message {index} was sent before its time");
        }
        assert_eq!(redis.len(), 500);
    }

    #[test]
    fn a_redis_that_takes_nothing_delays_sent_times_and_no_planned_one() {
        let (table, template) = setup(1_000.0, 256 * 1024, Duration::from_millis(100));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut reader = accept(&listener);
                while table.start_ns().is_none() {
                    thread::yield_now();
                }
                // Until every message is due: the socket's buffers hold far fewer than 25 MiB.
                clock::sleep_until(table.planned_ns(99));
                while command(&mut reader).is_some() {
                    reader.get_mut().write_all(b":1\r\n").unwrap();
                }
            });
            let start_ns = clock::now_ns();
            let published = start(&listener, &table, &template).join();
            assert_eq!(published.messages, 100);
            let last = table.times_of(99).unwrap();
            assert!(last.planned_ns - table.start_ns().unwrap() == 99_000_000);
            assert!(table.start_ns().unwrap() >= start_ns);
            // The last message that fitted was on time, the next ones were not.
            let late = (0..100)
                .map(|index| table.times_of(index).unwrap())
                .filter(|times| times.sent_ns - times.planned_ns > 1_000_000)
                .count();
            assert!(late >= 10, "{late} of 100 were late");
        });
    }

    #[test]
    fn a_stop_ends_it_in_the_middle_and_a_broken_connection_is_told() {
        let (table, template) = setup(10.0, 200, Duration::from_secs(3600));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        thread::scope(|scope| {
            let redis = scope.spawn(|| accept(&listener));
            let publisher = start(&listener, &table, &template);
            let _reader = redis.join().unwrap();
            publisher.stop();
            assert!(publisher.join().messages < 36_000);

            let redis = scope.spawn(|| drop(accept(&listener)));
            let publisher = start(&listener, &table, &template);
            redis.join().unwrap();
            let failure = publisher.join().failure.expect("a failure");
            assert!(failure.starts_with("the connection to Redis broke"), "{failure}");
        });
    }
}
