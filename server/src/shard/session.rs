//! A WebTransport session as a member: rounds are handed to the QUIC connection right from the shard, without a
//! task, a queue or a copy in between.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use lastmile_wire::command::{Command, CommandError};
use lastmile_wire::request::{Delivery, Protocol, StreamRequest};
use lastmile_wire::webtransport;

use wtransport::quinn::{Connection, SendDatagramError, SendStream, VarInt, WriteError};

use super::Shard;
use super::inbox::{MemberKey, SessionJoin, ShardId, ShardInput, ShardSender};
use super::log::{Log, RoundLog};
use super::member::{Outlet, Progress};
use crate::catalog::Subscription;
use crate::hub::From;
use crate::metrics::{Metrics, ProtocolMetrics};
use crate::protocol::CloseReason;
use crate::published::{Format, Framing, Moment, Published};

/// Rounds handed to a stream at once.
const ROUNDS_AT_ONCE: usize = 64;

/// See the module's documentation.
#[derive(Debug)]
pub struct SessionOutlet {
    delivery: Delivery,
    format: Format,
    counters: Counters,
    /// The session, once it is accepted.
    open: Option<OpenSession>,
    /// Wakes the shard when the connection takes more; made with the first write.
    waker: Option<Waker>,
    /// What goes before everything in the log: the latest rounds, and what is left of another log.
    first: VecDeque<(Arc<Published>, Moment)>,
    /// How many of these its client began with: what it had missed is as much as that is, and none of it its slowness.
    begun_with: usize,
    /// A stream that was opened ahead.
    spare: Option<SendStream>,
    /// Someone waits for the peer to allow another stream.
    is_opening: bool,
    /// What a stream has not taken of a frame, and the stream where it is not the session's one.
    begun: Option<(Bytes, Option<SendStream>)>,
}

/// An accepted session.
#[derive(Debug)]
pub struct OpenSession {
    /// Its connection; one session has it for itself.
    pub connection: Connection,
    /// Its number on the connection.
    pub session_id: u64,
    /// The one stream of [`Delivery::Stream`].
    pub stream: Option<SendStream>,
    /// The member's name, and where to tell what happens to it, while the session is served.
    pub seat: Weak<SessionSeat>,
}

/// Where a session stands. Dropping it leaves the shard.
#[derive(Debug)]
pub struct SessionSeat {
    shard: ShardSender,
    member: MemberKey,
}

#[derive(Debug)]
struct Counters {
    metrics: Arc<Metrics>,
    shard: ShardId,
}

impl Counters {
    fn get(&self) -> &ProtocolMetrics {
        self.metrics.shards[self.shard.index()].protocol(Protocol::WebTransport)
    }
}

impl SessionSeat {
    /// Joins a shard and waits until attached. `None` where the server is shutting down.
    pub async fn join(
        shard: &ShardSender,
        outlet: SessionOutlet,
        subscription: Subscription,
        from: From,
    ) -> Option<Self> {
        let (attached, answered) = tokio::sync::oneshot::channel();
        shard.tell(ShardInput::JoinSession(Box::new(SessionJoin { outlet, subscription, from, attached })));
        Some(Self { shard: shard.clone(), member: answered.await.ok()? })
    }

    /// The session's client said something: gives the answer, `None` where the session is over.
    pub async fn say(&self, command: Result<Command, CommandError>) -> Option<String> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.shard.tell(ShardInput::Said { member: self.member, command, answer });
        answered.await.ok()
    }

    /// The session was accepted: its rounds can go.
    pub fn open(self: &Arc<Self>, session: OpenSession) {
        self.shard.tell(ShardInput::Open(self.member, Box::new(session)));
    }
}

impl Drop for SessionSeat {
    fn drop(&mut self) {
        self.shard.tell(ShardInput::Leave(self.member));
    }
}

/// Tells the shard that a connection takes more.
struct Writable {
    shard: ShardSender,
    member: MemberKey,
}

impl Wake for Writable {
    fn wake(self: Arc<Self>) {
        self.shard.tell(ShardInput::Writable(self.member));
    }
}

impl SessionOutlet {
    /// A session that is about to be accepted.
    pub fn new(request: &StreamRequest, metrics: Arc<Metrics>, shard: ShardId) -> Self {
        let delivery = request.delivery;
        let framing = match delivery {
            Delivery::Stream => Framing::LengthPrefixed,
            Delivery::Streams => Framing::UniStream,
            Delivery::Datagram => Framing::Datagram,
        };
        Self {
            delivery,
            format: Format::requested(framing, request),
            counters: Counters { metrics, shard },
            open: None,
            waker: None,
            first: VecDeque::new(),
            begun_with: 0,
            spare: None,
            is_opening: false,
            begun: None,
        }
    }

    /// In what form it gets rounds.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What the client begins with: the latest rounds, or what it had missed, however much that is.
    pub fn begin(&mut self, latest: &[Arc<Published>]) {
        self.begun_with = latest.len();
        self.first.extend(latest.iter().map(|message| (Arc::clone(message), Moment::Attach)));
    }

    /// The latest rounds of games that come later, to go before everything that comes from the log.
    ///
    /// # Errors
    /// `TooSlow` where more than `limit_bytes` would wait; alone it may be more.
    pub fn add_latest(&mut self, latest: &[Arc<Published>], limit_bytes: usize) -> Result<(), CloseReason> {
        let waiting = self.waiting_bytes();
        let more: usize = latest.iter().map(|message| self.size(message)).sum();
        if waiting > 0 && waiting + more > limit_bytes {
            return Err(CloseReason::TooSlow);
        }
        self.first.extend(latest.iter().map(|message| (Arc::clone(message), Moment::Attach)));
        Ok(())
    }

    /// Leaves the log for another one: what is still to come of it is kept for this session alone.
    ///
    /// # Errors
    /// `TooSlow` where more than `limit_bytes` would wait; nothing has changed then.
    pub fn keep(&mut self, log: &RoundLog, place: u64, limit_bytes: usize) -> Result<(), CloseReason> {
        let rest = log.bytes_between(place, log.end());
        if rest > 0 && self.waiting_bytes() + rest > limit_bytes {
            return Err(CloseReason::TooSlow);
        }
        self.first.extend(log.from(place).map(|message| (Arc::clone(message), Moment::Live)));
        Ok(())
    }

    /// Bytes that wait before the log because the client takes them slowly.
    fn waiting_bytes(&self) -> usize {
        self.first.iter().skip(self.begun_with).map(|(message, _)| self.size(message)).sum()
    }

    fn size(&self, message: &Published) -> usize {
        message.payload_in(self.format.encoding).len()
    }

    /// Ends the session, and tells it why.
    pub fn close(self, reason: CloseReason) {
        if let Some(open) = self.open {
            end(&open.connection, reason);
        }
    }

    /// Hands on what the session has not got, as far as the connection takes it.
    ///
    /// # Errors
    /// The reason to close it for.
    pub fn write(&mut self, log: &RoundLog, place: &mut u64) -> Result<Progress, CloseReason> {
        let Some(open) = &self.open else { return Ok(Progress::Waiting) };
        if self.waker.is_none() {
            let seat = open.seat.upgrade().ok_or(CloseReason::PeerGone)?;
            let (shard, member) = (seat.shard.clone(), seat.member);
            self.waker = Some(Waker::from(Arc::new(Writable { shard, member })));
        }
        if self.finish_begun()? == Progress::Waiting {
            return Ok(Progress::Waiting);
        }
        while !self.is_opening
            && let Some((message, moment)) = self.first.front().cloned()
        {
            let progress = self.write_one(&message, moment)?;
            if self.is_opening {
                // It waits for a stream, and goes before all others.
                return Ok(Progress::Waiting);
            }
            self.first.pop_front();
            self.begun_with = self.begun_with.saturating_sub(1);
            if progress == Progress::Waiting {
                return Ok(Progress::Waiting);
            }
        }
        if self.is_opening {
            return Ok(Progress::Waiting);
        }
        if self.delivery == Delivery::Stream {
            return self.write_joined(log, place);
        }
        for round in log.from(*place) {
            if self.is_opening {
                return Ok(Progress::Waiting);
            }
            let progress = self.write_one(round, Moment::Live)?;
            *place += u64::from(!self.is_opening);
            if progress == Progress::Waiting {
                return Ok(Progress::Waiting);
            }
        }
        Ok(Progress::Written)
    }
}

impl SessionOutlet {
    /// Gives the begun frame's rest to its stream.
    fn finish_begun(&mut self) -> Result<Progress, CloseReason> {
        let Some((mut rest, own_stream)) = self.begun.take() else { return Ok(Progress::Written) };
        match own_stream {
            Some(mut stream) => {
                if !self.write_stream(&mut stream, std::slice::from_mut(&mut rest))? {
                    self.begun = Some((rest, Some(stream)));
                    return Ok(Progress::Waiting);
                }
                finish(&mut stream);
            }
            None => {
                if !self.write_session_stream(std::slice::from_mut(&mut rest))? {
                    self.begun = Some((rest, None));
                    return Ok(Progress::Waiting);
                }
            }
        }
        Ok(Progress::Written)
    }

    /// Writes frames to the session's one stream, many at once.
    fn write_joined(&mut self, log: &RoundLog, place: &mut u64) -> Result<Progress, CloseReason> {
        let format = self.format;
        while *place < log.end() {
            let mut frames: Vec<Bytes> = log
                .from(*place)
                .take(ROUNDS_AT_ONCE)
                .map(|round| round.frame(format, Moment::Live).clone())
                .collect();
            if self.write_session_stream(&mut frames)? {
                *place += frames.len() as u64;
                continue;
            }
            // Frames that were taken whole are empty now; one may have been begun.
            let untouched = |(frame, round): &(&Bytes, &Arc<Published>)| {
                frame.len() == round.frame(format, Moment::Live).len()
            };
            let left = frames.iter().zip(log.from(*place)).filter(untouched).count();
            let begun = frames.len() - left;
            *place += begun as u64;
            self.begun = begun
                .checked_sub(1)
                .map(|last| frames[last].clone())
                .filter(|rest| !rest.is_empty())
                .map(|rest| (rest, None));
            return Ok(Progress::Waiting);
        }
        Ok(Progress::Written)
    }

    /// Sends one round by itself. `Waiting` with `is_opening` set: it has not been sent and is to be tried
    /// again. `Waiting` otherwise: it has been begun.
    ///
    /// The latest rounds of a datagram session go on streams: a datagram that is there before the client has
    /// begun to read them is dropped by browsers.
    fn write_one(&mut self, round: &Published, moment: Moment) -> Result<Progress, CloseReason> {
        if self.delivery == Delivery::Stream {
            let mut frame = round.frame(self.format, moment).clone();
            if !self.write_session_stream(std::slice::from_mut(&mut frame))? {
                self.begun = Some((frame, None));
                return Ok(Progress::Waiting);
            }
            return Ok(Progress::Written);
        }
        if self.delivery == Delivery::Datagram && moment == Moment::Live && self.send_datagram(round)? {
            return Ok(Progress::Written);
        }
        let Some(mut stream) = self.open_stream()? else { return Ok(Progress::Waiting) };
        let mut frame = self.uni_stream_frame(round);
        if !self.write_stream(&mut stream, std::slice::from_mut(&mut frame))? {
            self.begun = Some((frame, Some(stream)));
            return Ok(Progress::Waiting);
        }
        finish(&mut stream);
        Ok(Progress::Written)
    }

    /// Whether the round went as a datagram; else it is too large for one, or the peer takes none.
    fn send_datagram(&mut self, round: &Published) -> Result<bool, CloseReason> {
        let Some(open) = &self.open else { return Ok(false) };
        let datagram = match open.session_id {
            0 => round.frame(self.format, Moment::Live).clone(),
            id => webtransport::datagram(id, round.payload_in(self.format.encoding)).into(),
        };
        match open.connection.send_datagram(datagram) {
            Ok(()) => Ok(true),
            Err(SendDatagramError::ConnectionLost(_)) => Err(CloseReason::PeerGone),
            Err(
                SendDatagramError::TooLarge
                | SendDatagramError::UnsupportedByPeer
                | SendDatagramError::Disabled,
            ) => {
                self.counters.get().datagram_fallbacks.add(1);
                Ok(false)
            }
        }
    }

    fn uni_stream_frame(&self, round: &Published) -> Bytes {
        match self.open.as_ref().map_or(0, |open| open.session_id) {
            0 => {
                let format = Format { framing: Framing::UniStream, ..self.format };
                round.frame(format, Moment::Live).clone()
            }
            id => webtransport::uni_stream(id, round.payload_in(self.format.encoding)).into(),
        }
    }

    /// A stream for one round; `None` where the peer must allow more first: then someone waits for it.
    fn open_stream(&mut self) -> Result<Option<SendStream>, CloseReason> {
        if let Some(stream) = self.spare.take() {
            return Ok(Some(stream));
        }
        let Some(open) = &self.open else { return Ok(None) };
        let mut context = Context::from_waker(Waker::noop());
        match pin!(open.connection.open_uni()).poll(&mut context) {
            Poll::Ready(Ok(stream)) => Ok(Some(stream)),
            Poll::Ready(Err(_)) => Err(CloseReason::PeerGone),
            Poll::Pending => {
                self.is_opening = true;
                let (connection, seat) = (open.connection.clone(), Weak::clone(&open.seat));
                tokio::spawn(async move {
                    // A connection that has ended is found out by whoever serves the session.
                    if let (Ok(stream), Some(seat)) = (connection.open_uni().await, seat.upgrade()) {
                        seat.shard.tell(ShardInput::Stream(seat.member, stream));
                    }
                });
                Ok(None)
            }
        }
    }

    /// Writes to the session's one stream; whether it took everything.
    fn write_session_stream(&mut self, frames: &mut [Bytes]) -> Result<bool, CloseReason> {
        let Some(OpenSession { stream: Some(stream), .. }) = &mut self.open else { return Ok(true) };
        write(stream, frames, self.waker.as_ref())
    }

    fn write_stream(&self, stream: &mut SendStream, frames: &mut [Bytes]) -> Result<bool, CloseReason> {
        write(stream, frames, self.waker.as_ref())
    }
}

/// Writes as much of `frames` as the stream takes now, which empties them; whether it took everything. The waker
/// is woken when it takes more.
fn write(
    stream: &mut SendStream,
    mut frames: &mut [Bytes],
    waker: Option<&Waker>,
) -> Result<bool, CloseReason> {
    let mut context = Context::from_waker(waker.unwrap_or(Waker::noop()));
    while !frames.is_empty() {
        let polled = pin!(stream.write_chunks(frames)).poll(&mut context);
        match polled {
            Poll::Ready(Ok(written)) => frames = &mut frames[written.chunks..],
            // The peer does not want this stream: what it refuses is not owed to it.
            Poll::Ready(Err(WriteError::Stopped(_))) => return Ok(true),
            Poll::Ready(Err(_)) => return Err(CloseReason::PeerGone),
            Poll::Pending => return Ok(false),
        }
    }
    Ok(true)
}

fn finish(stream: &mut SendStream) {
    // Fails only for a stream that is finished already.
    let _ = stream.finish();
}

/// Closes a session's connection with the reason's number and words; 0 is a server that goes away.
pub fn end(connection: &Connection, reason: CloseReason) {
    let code = if reason == CloseReason::GoingAway { 0 } else { reason.index() as u32 };
    connection.close(VarInt::from_u32(code), reason.words().as_bytes());
}

impl Shard {
    /// A session was accepted.
    pub(super) fn open_session(&mut self, key: MemberKey, session: OpenSession) {
        match self.members.get(key).map(|member| &mut member.outlet) {
            Some(Outlet::Session(outlet)) => outlet.open = Some(session),
            // It was closed while it was being accepted.
            _ => {
                let reason = if self.stopping { CloseReason::GoingAway } else { CloseReason::TooSlow };
                return end(&session.connection, reason);
            }
        }
        self.on_writable(key);
    }

    /// A stream was opened for a session that waited for one.
    pub(super) fn use_stream(&mut self, key: MemberKey, stream: SendStream) {
        let Some(member) = self.members.get(key) else { return };
        let Outlet::Session(outlet) = &mut member.outlet else { return };
        outlet.spare = Some(stream);
        outlet.is_opening = false;
        self.on_writable(key);
    }
}
