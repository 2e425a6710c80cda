//! A subscriber's life: what it does, what it receives, and what it was promised.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use lastmile_wire::request::Encoding;
use lastmile_wire::round::Round;

use super::common::{End, Form, Place, Subscriber, Way, round};
use super::fate::{self, Fate, Random};
use super::{BACKLOG_BYTES, LONG_STALL_ROUNDS, NOBODY, PATIENCE, PAUSE, Progress, REPLAY_BYTES, RING_ROUNDS};
use super::{WINDOW, payload};

/// Who does not take its goodbye for so long is cut off.
const GOODBYE_LIMIT: Duration = Duration::from_secs(2);

/// How long the server waits for its database before it tells a gap instead.
const DATABASE_LIMIT: Duration = Duration::from_secs(3);

/// Rounds after the last that a subscriber without order may still wait for one that it was promised.
const MOST_BEHIND: u64 = 4000;

/// How a subscriber ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It had read everything that it knew of.
    Left,
    /// In the middle of a stall, with rounds unread.
    Died,
    /// It was closed for stalling.
    TooSlow,
    /// So it was, but did not hear the words.
    Reset,
    /// It got the last round.
    Stayed,
}

/// What a subscriber has of the game that it gets now and then.
#[derive(Default)]
struct Second {
    is_subscribed: bool,
    newest: Option<u64>,
    /// It has begun anew so many times, with a round that need not follow the one before.
    restarts: u64,
}

/// What a subscriber that resumes can count on.
#[derive(Debug, Clone, Copy)]
pub struct Resumed {
    /// The round it had.
    since: u64,
    /// The newest round that was published before it came.
    published: u64,
    /// The newest of which it is known that it was in the database then, and all before it.
    stored: u64,
    began: Instant,
}

/// A subscriber, and what it has received.
pub struct Life<'a> {
    subscriber: Subscriber,
    resumed: Option<Resumed>,
    /// The newest round that had been published when it came; what it begins with is not older.
    attached: u64,
    seen: BTreeSet<u64>,
    /// What it was told to be missing: everything between two rounds.
    gaps: Vec<(u64, u64)>,
    /// The round that a notice of a gap promised as the next.
    behind_gap: Option<u64>,
    /// Of one that resumes: everything up to here has come, or was told to be missing.
    complete: u64,
    second: Second,
    /// Since when it has been behind for taking nothing.
    stalled: Option<Instant>,
    index: usize,
    progress: &'a Progress,
}

/// A notice's two rounds.
fn gap(form: Form, message: &[u8]) -> Option<(u64, u64)> {
    let notice: serde_json::Value = match form.encoding {
        Encoding::Json if message.starts_with(br#"{"gap":"#) => serde_json::from_slice(message).ok()?,
        Encoding::MessagePack if message.starts_with(b"\x81\xa3gap") => {
            rmp_serde::from_slice(message).ok()?
        }
        _ => return None,
    };
    Some((notice["gap"]["from"].as_u64()?, notice["gap"]["to"].as_u64()?))
}

/// As the database gives a round: the same fields, without spaces.
fn stored(payload: &[u8]) -> Vec<u8> {
    Round::parse(payload).expect("a round").to_json()
}

impl<'a> Life<'a> {
    /// Connects the next subscriber of a place, which is to live as drawn.
    pub async fn begin(
        place: &Place,
        (way, index): (Way, usize),
        last: Option<u64>,
        random: &mut Random,
        progress: &'a Progress,
    ) -> Self {
        let topic = if random.below(2) == 0 { "crash" } else { "type/multiplier" };
        let form = Form::ALL[random.below(Form::ALL.len() as u64) as usize];
        let stored = progress.stored();
        let published = progress.published.load(SeqCst);
        let since = fate::draw_since(random, last, published);
        // It is waited for from now on: its backlog may begin before it knows that it is connected.
        progress.catching_up[index].store(since.is_some(), SeqCst);
        progress.places[index].store(since.unwrap_or(published), SeqCst);
        let began = Instant::now();
        let subscriber = match since {
            None => Subscriber::connect_in(place, way, topic, form).await,
            Some(since) => Subscriber::resume_in(place, way, topic, form, since).await,
        };
        Life {
            subscriber,
            resumed: since.map(|since| Resumed { since, published, stored, began }),
            attached: published,
            seen: BTreeSet::new(),
            gaps: Vec::new(),
            behind_gap: None,
            complete: since.unwrap_or_default(),
            second: Second::default(),
            stalled: None,
            index,
            progress,
        }
    }

    /// It resumed from where only the database could help.
    pub fn came_from_afar(&self) -> bool {
        self.resumed.is_some_and(|resumed| resumed.published.saturating_sub(resumed.since) > RING_ROUNDS)
    }

    /// What it was told to be missing.
    pub fn gaps(&self) -> usize {
        self.gaps.len()
    }

    /// The newest round it has.
    pub fn newest(&self) -> Option<u64> {
        self.seen.last().copied()
    }

    pub async fn live(&mut self, fate: Fate, random: &mut Random) -> Ended {
        let mut rounds = 0;
        while !self.has_all() {
            if rounds == fate.rounds {
                match fate.end {
                    fate::End::Leave => return Ended::Left,
                    fate::End::Die => {
                        self.stall(random.below(WINDOW)).await;
                        return Ended::Died;
                    }
                    fate::End::StallLong => self.stall(LONG_STALL_ROUNDS).await,
                }
            } else if random.below(100) == 0 {
                self.stall(random.below(2 * WINDOW)).await;
            }
            if self.subscriber.way.has_commands() && random.below(40) == 0 {
                match self.change().await {
                    Ok(()) => continue,
                    Err(end) => return self.ended(end),
                }
            }
            match tokio::time::timeout(PATIENCE, self.subscriber.next_or_end()).await.expect("a round") {
                Ok(round) => self.receive(&round),
                Err(end) => return self.ended(end),
            }
            rounds += 1;
        }
        Ended::Stayed
    }

    fn ended(&self, end: End) -> Ended {
        let way = self.subscriber.way;
        let Some(stalled) = self.stalled else {
            panic!("{way:?}: {end:?} of one that did not stall, {:?}, {:?}", self.resumed, self.newest())
        };
        let (most, published) = (self.most_waiting_bytes(), self.progress.published.load(SeqCst));
        assert!(
            most > BACKLOG_BYTES,
            "{way:?}: {end:?}, and not more than {most} bytes can have waited: up to {:?} of {published} had come",
            self.newest()
        );
        match end {
            End::Told { words, .. } => {
                assert_eq!(words, "subscriber too slow");
                Ended::TooSlow
            }
            // A goodbye of QUIC is one packet, which nobody repeats when it is lost: the next one that the client
            // sends is answered with a reset.
            End::Broken(words) if way.protocol() == "wt" && words.contains("connection has been reset") => {
                Ended::Reset
            }
            // Who stalls for longer than a goodbye is waited for is cut off where it was.
            End::Silent | End::Broken(_)
                if matches!(way, Way::WebSocket | Way::Sse) && stalled.elapsed() >= GOODBYE_LIMIT =>
            {
                Ended::Reset
            }
            end => panic!("{way:?}: {end:?}, {:?} after the stall began", stalled.elapsed()),
        }
    }

    /// Bytes of everything that was published for it and has not come, at the very most.
    fn most_waiting_bytes(&self) -> usize {
        let published = self.progress.published.load(SeqCst);
        let from = self.resumed.map_or(self.attached, |resumed| resumed.since + 1);
        let missing = (from..=published).filter(|id| !self.seen.contains(id));
        // Frames, Base64, and the second game beside the first.
        missing.map(|id| payload(id).len() * 4 / 3 + 100 + round("double", id).len() * 4 / 3).sum()
    }

    /// Gets the second game from now on, or no more.
    async fn change(&mut self) -> Result<(), End> {
        let verb = if self.second.is_subscribed { "unsubscribe" } else { "subscribe" };
        let answer = self.subscriber.try_say(&format!(r#"{{"{verb}":["double"]}}"#)).await?;
        self.second.is_subscribed = !self.second.is_subscribed;
        assert_eq!(answer.contains("\"double\""), self.second.is_subscribed, "{answer}");
        // On a WebSocket these are of before the change; a session's rounds come on streams of their own.
        for _ in 0..self.subscriber.pending() {
            let round = self.subscriber.next().await;
            self.receive(&round);
        }
        if self.second.is_subscribed {
            let is_websocket = self.subscriber.way == Way::WebSocket;
            self.second.restarts = if is_websocket { 1 } else { self.second.restarts + 1 };
        }
        Ok(())
    }

    fn receive_second(&mut self, received: &[u8], id: u64) {
        let (way, form) = (self.subscriber.way, self.subscriber.form);
        assert!(
            received == form.of(&round("double", id)),
            "{way:?} {form:?}: {id} is no round of either game"
        );
        self.progress.deliveries.fetch_add(1, SeqCst);
        let before = self.second.newest;
        if !way.is_ordered() {
            return;
        }
        if before.is_none_or(|before| id != before + 1) {
            assert!(
                self.second.restarts > 0 && before.is_none_or(|before| id >= before),
                "{way:?} {form:?}: {id} of the second game after {before:?}"
            );
            self.second.restarts -= 1;
        }
        self.second.newest = Some(id);
    }

    fn receive(&mut self, round: &[u8]) {
        let (way, form) = (self.subscriber.way, self.subscriber.form);
        if let Some((from, to)) = gap(form, round) {
            return self.receive_gap(from, to);
        }
        let id = form.round_id(round);
        if !self.is_of_the_first_game(round, id) {
            return self.receive_second(round, id);
        }
        let before = self.before();
        assert!(self.seen.insert(id), "{way:?}: {id} came twice");
        if way.is_ordered() {
            let expected = self.behind_gap.take().or(before.map(|before| before + 1));
            assert!(
                expected.is_none_or(|expected| id == expected),
                "{way:?}: {id} after {before:?}, not {expected:?}; resumed {:?}, told {:?}",
                self.resumed,
                self.gaps
            );
        }
        self.progress.deliveries.fetch_add(1, SeqCst);
        self.progress.received.fetch_max(id, SeqCst);
        if id + WINDOW >= self.progress.published.load(SeqCst) {
            // Nobody has closed one for which so little waits.
            self.stalled = None;
        }
        self.advance();
    }

    /// The round that comes before the next one, where there is order.
    fn before(&self) -> Option<u64> {
        self.newest().or(self.resumed.map(|resumed| resumed.since))
    }

    /// Whether it is that, byte for byte; from the database, where only that can have it, in its spelling.
    fn is_of_the_first_game(&self, round: &[u8], id: u64) -> bool {
        let (form, payload) = (self.subscriber.form, payload(id));
        let is_old = || id + RING_ROUNDS <= self.progress.published.load(SeqCst);
        round == form.of(&payload)
            || (self.resumed.is_some() && is_old() && round == form.of(&stored(&payload)))
    }

    /// A notice that something is missing: only where nothing and nobody has it any more.
    fn receive_gap(&mut self, from: u64, to: u64) {
        let way = self.subscriber.way;
        let Some(resumed) = self.resumed else {
            panic!("{way:?}: a gap between {from} and {to} for one who stayed")
        };
        if way.is_ordered() {
            assert_eq!((Some(from), self.behind_gap), (self.before(), None), "{way:?}: a gap elsewhere");
            self.behind_gap = Some(to);
        }
        assert!(from >= resumed.since && to > from + 1, "{way:?}: nothing is between {from} and {to}");
        assert!(self.seen.range(from + 1..to).next().is_none(), "{way:?}: a part of {from}-{to} has come");
        self.gaps.push((from, to));
        // The newest of the missing ones is the one that was nearest.
        let (missing, published) = (to - 1, self.progress.published.load(SeqCst));
        let in_ring = missing + RING_ROUNDS > published;
        let bytes: usize = (missing..=published).map(|id| payload(id).len()).sum();
        let in_database = missing <= resumed.stored && bytes <= REPLAY_BYTES;
        assert!(
            !in_ring && (!in_database || resumed.began.elapsed() >= DATABASE_LIMIT),
            "{way:?}: told that {missing} is missing, and it is in the ring {in_ring} or in the database \
             {in_database}: {published} published, {resumed:?}"
        );
        self.advance();
    }

    /// Notes how far it is, for whoever publishes.
    fn advance(&mut self) {
        let Some(resumed) = self.resumed else { return self.is_at(self.newest().unwrap_or_default()) };
        loop {
            let next = self.complete + 1;
            match self.gaps.iter().find(|(from, to)| *from < next && next < *to) {
                Some((_, to)) => self.complete = to - 1,
                None if self.seen.contains(&next) => self.complete = next,
                None => break,
            }
        }
        let is_catching_up = self.complete < resumed.published;
        self.progress.catching_up[self.index].store(is_catching_up, SeqCst);
        if is_catching_up {
            self.is_at(self.complete);
        } else {
            // From here on a datagram may be lost, which nobody waits for.
            self.is_at(self.newest().unwrap_or_default().max(self.complete));
        }
    }

    fn is_at(&self, id: u64) {
        self.progress.places[self.index].store(id, SeqCst);
    }

    /// Takes nothing while so many rounds are published.
    async fn stall(&mut self, rounds: u64) {
        self.stalled.get_or_insert_with(Instant::now);
        self.is_at(NOBODY);
        self.progress.catching_up[self.index].store(false, SeqCst);
        let until = self.progress.published.load(SeqCst) + rounds;
        let begun = Instant::now();
        // Nobody publishes when the last round is out.
        while self.progress.published.load(SeqCst) < until
            && self.progress.last.load(SeqCst) == 0
            && begun.elapsed() < PATIENCE
        {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Everything up to the last round is there, as far as this way promises it.
    fn has_all(&self) -> bool {
        let last = self.progress.last.load(SeqCst);
        let Some(newest) = self.newest() else { return false };
        if last == 0 || newest < last {
            return false;
        }
        let missing = self.missing();
        assert!(newest < last + MOST_BEHIND, "{:?}: {missing} rounds never came", self.subscriber.way);
        missing == 0
    }

    /// Rounds that it was promised and does not have; of datagrams only what it had missed is promised.
    fn missing(&self) -> u64 {
        let Some((oldest, newest)) = self.seen.first().zip(self.seen.last()) else { return 0 };
        let from = self.resumed.map_or(*oldest, |resumed| resumed.since + 1);
        let to = match (self.subscriber.way, self.resumed) {
            (Way::Datagram, None) => return 0,
            (Way::Datagram, Some(resumed)) => resumed.published,
            _ => *newest,
        };
        if to < from {
            return 0;
        }
        let told: u64 =
            self.gaps.iter().map(|(before, next)| (*next - 1).min(to).saturating_sub(*before)).sum();
        (to + 1 - from) - self.seen.range(from..=to).count() as u64 - told
    }

    /// What it was promised, in the end.
    pub fn check(&self, not_before: u64, end: Ended) {
        let way = self.subscriber.way;
        let Some(&oldest) = self.seen.first() else { return };
        match self.resumed {
            Some(Resumed { since, .. }) => assert!(oldest > since, "{way:?}: {oldest} again, behind {since}"),
            // A stream a round may not have brought its oldest yet; of datagrams the first may be lost.
            None => assert!(
                oldest >= not_before,
                "{way:?}: began with {oldest}, but {not_before} had been delivered"
            ),
        }
        for (from, to) in &self.gaps {
            assert!(self.seen.range(from + 1..*to).next().is_none(), "{way:?}: a part of {from}-{to} came");
        }
        if end == Ended::Stayed {
            assert_eq!(self.missing(), 0, "{way:?}: resumed {:?}, told {:?}", self.resumed, self.gaps);
        }
    }
}
