//! What clients say on an open connection. A change of what a member gets goes through the hub and comes back in the
//! queue that carries the rounds, as an attachment does: there the member leaves one group and enters another, so
//! that of each game it has got exactly what was published while it was subscribed.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lastmile_wire::command::{self, Command, CommandError};
use lastmile_wire::request::Topic;

use super::Shard;
use super::group::{GroupKey, GroupMembers};
use super::inbox::{MemberKey, Reply};
use super::member::{Joining, Outlet, Phase};
use crate::catalog::{Change, GameIndex, Subscription};
use crate::guard::Refused;
use crate::protocol::{CloseReason, Said};
use crate::published::Published;

/// Most games one connection gets by commands.
const MAX_GAMES: usize = 256;

/// Most bytes that are kept of a client between its token and its attachment.
const MAX_EARLY_BYTES: usize = 16 * 1024;

/// Clients that have not said yet who they are, oldest first.
#[derive(Debug, Default)]
pub struct Unknowns(Vec<(Instant, MemberKey)>);

impl Unknowns {
    fn add(&mut self, key: MemberKey, limit: Duration) {
        self.0.push((Instant::now() + limit, key));
    }

    /// Takes out those whose time is over.
    fn take_due(&mut self) -> Vec<MemberKey> {
        let now = Instant::now();
        let due = self.0.partition_point(|(deadline, _)| *deadline <= now);
        self.0.drain(..due).map(|(_, member)| member).collect()
    }
}

impl Shard {
    /// Lets a socket in whose client is to say first who it is. It hears nothing but that the server listens.
    pub(super) fn ask_who(&mut self, outlet: Outlet, mut joining: Joining) {
        if self.stopping {
            return;
        }
        let head = std::mem::take(&mut joining.head);
        let mut early = std::mem::take(&mut joining.early);
        let key = self.members.insert(outlet, Phase::Unknown(Box::new(joining)));
        self.unknowns.add(key, self.settings.guard.limits().handshake);
        let limit_bytes = self.settings.backlog_bytes;
        let Some(outlet) = self.socket_of(key) else { return };
        let sent = outlet.add_own(&head, limit_bytes).and_then(|()| outlet.write_own());
        if sent.is_err() || self.watch(key).is_err() {
            return self.remove(key, CloseReason::PeerGone);
        }
        self.hear_early(key, &mut early);
    }

    /// Closes those who have not said in time who they are.
    pub(super) fn close_unknowns(&mut self) {
        for key in self.unknowns.take_due() {
            if let Some(Phase::Unknown(_)) = self.members.get(key).map(|member| &member.phase) {
                self.settings.guard.refuse(Refused::Token);
                self.close(key, CloseReason::Unauthorized);
            }
        }
    }

    /// Takes what was said on a socket, in order.
    pub(super) fn take_said(&mut self, key: MemberKey, said: Vec<Said>) -> Result<(), CloseReason> {
        for said in said {
            let Some(member) = self.members.get(key) else { return Ok(()) };
            match (&mut member.phase, said) {
                (Phase::Closing { .. }, _) => return Ok(()),
                (Phase::Joining(joining), said) => joining.said.push(said),
                (_, Said::Answer(bytes)) => self.answer_socket(key, &bytes)?,
                (Phase::Unknown(_), Said::Command(command)) => self.identify(key, &command)?,
                (Phase::Live { .. }, Said::Command(command)) => self.command(key, command, Reply::Socket)?,
            }
        }
        Ok(())
    }

    /// Keeps what comes between a token and the attachment.
    ///
    /// # Errors
    /// `Policy` where that is more than a client can have to say.
    pub(super) fn keep_early(joining: &mut Joining, bytes: &[u8]) -> Result<(), CloseReason> {
        if joining.early.len() + bytes.len() > MAX_EARLY_BYTES {
            return Err(CloseReason::Policy);
        }
        joining.early.extend_from_slice(bytes);
        Ok(())
    }

    /// The first thing a client says that brought no token.
    fn identify(&mut self, key: MemberKey, said: &Result<Command, CommandError>) -> Result<(), CloseReason> {
        let is_known =
            matches!(said, Ok(Command::Auth(token)) if self.settings.guard.check_token(token.as_bytes()));
        if !is_known {
            self.settings.guard.refuse(Refused::Token);
            return Err(CloseReason::Unauthorized);
        }
        self.answer(key, Reply::Socket, command::authenticated())?;
        let Some(member) = self.members.get(key) else { return Ok(()) };
        let phase = std::mem::replace(&mut member.phase, Phase::Closing { discarded_bytes: 0 });
        let Phase::Unknown(mut joining) = phase else { return Ok(()) };
        let (subscription, from) = (joining.subscription.clone(), std::mem::take(&mut joining.from));
        member.phase = Phase::Joining(joining);
        self.hub.attach(self.id, key, &subscription, &from);
        Ok(())
    }

    /// Does what a live member's client asks for.
    ///
    /// # Errors
    /// The reason to close it for.
    pub(super) fn command(
        &mut self,
        key: MemberKey,
        said: Result<Command, CommandError>,
        reply: Reply,
    ) -> Result<(), CloseReason> {
        self.spend_command(key)?;
        let answer = match said {
            Ok(Command::Subscribe(topics)) => match self.ask_for_change(key, &topics, Change::Add) {
                Ok(change) => {
                    self.hub.change(self.id, key, change, reply);
                    return Ok(());
                }
                Err(words) => command::error(&words),
            },
            Ok(Command::Unsubscribe(topics)) => match self.ask_for_change(key, &topics, Change::Remove) {
                Ok(change) => {
                    self.hub.change(self.id, key, change, reply);
                    return Ok(());
                }
                Err(words) => command::error(&words),
            },
            Ok(Command::Ping(number)) => command::pong(&number),
            Ok(Command::Auth(token)) if self.settings.guard.check_token(token.as_bytes()) => {
                command::authenticated()
            }
            Ok(Command::Auth(_)) => {
                self.settings.guard.refuse(Refused::Token);
                command::error("unknown token")
            }
            Err(error) => command::error(&error.to_string()),
        };
        self.answer(key, reply, answer)
    }

    /// Takes a command into account.
    fn spend_command(&mut self, key: MemberKey) -> Result<(), CloseReason> {
        self.metrics.shards[self.id.index()].commands.add(1);
        let now_s = self.sweep.now_s();
        let per_second: Option<NonZeroU32> = self.settings.guard.limits().commands_per_second;
        let Some(member) = self.members.get(key) else { return Ok(()) };
        if member.commands.take(now_s, per_second) {
            return Ok(());
        }
        self.settings.guard.refuse(Refused::CommandRate);
        Err(CloseReason::CommandRate)
    }

    /// What a command comes to; or why not, in words for the client.
    fn ask_for_change(
        &mut self,
        key: MemberKey,
        topics: &[Topic],
        change: fn(Vec<GameIndex>) -> Change,
    ) -> Result<Change, String> {
        let mut games = Vec::new();
        for topic in topics {
            let found = self.catalog.resolve(topic).ok_or_else(|| format!("{topic} is not there"))?;
            games.extend_from_slice(found.games());
        }
        let change = change(games);
        let after = self.subscription_of(key).map(|subscription| subscription.changed(&change));
        if after.is_some_and(|after| after.games().len() > MAX_GAMES) {
            return Err(format!("at most {MAX_GAMES} games on one connection"));
        }
        Ok(change)
    }

    /// The hub has answered: from here on the member gets other games.
    pub(super) fn change(
        &mut self,
        key: MemberKey,
        change: &Change,
        latest: &[Arc<Published>],
        reply: Reply,
    ) {
        let Some(before) = self.subscription_of(key) else { return };
        let after = before.changed(change);
        let slugs = after.games().iter().map(|game| self.catalog.slug(*game));
        let answer = command::subscribed(slugs);
        let is_new = |round: &&Arc<Published>| !before.games().contains(&round.game());
        let latest: Vec<_> = latest.iter().filter(is_new).cloned().collect();
        let moved = if after == before { Ok(()) } else { self.move_to(key, after) };
        let changed = moved
            .and_then(|()| self.answer(key, reply, answer))
            .and_then(|()| if latest.is_empty() { Ok(()) } else { self.send_latest(key, &latest) })
            .and_then(|()| self.write_on(key));
        if let Err(reason) = changed {
            self.close(key, reason);
        }
    }

    /// Moves a member to the group of another subscription; what is still to come of its old one goes first.
    fn move_to(&mut self, key: MemberKey, subscription: Subscription) -> Result<(), CloseReason> {
        let limit_bytes = self.settings.backlog_bytes;
        let Some(Phase::Live { group: id, .. }) = self.members.get(key).map(|member| &member.phase) else {
            return Ok(());
        };
        let id = *id;
        // What was published before the change belongs to the old subscription, gathered or not.
        self.complete_batch(id);
        let Some(member) = self.members.get(key) else { return Ok(()) };
        let Phase::Live { position, .. } = member.phase else { return Ok(()) };
        let format = member.outlet.format();
        let metrics = self.metrics.shards[self.id.index()].protocol(super::protocol_of(format.framing));
        let Some(group) = self.groups.get_mut(id) else { return Ok(()) };
        match (&mut group.members, &mut member.outlet) {
            (GroupMembers::Bytes(wheel), Outlet::Socket(outlet)) => {
                outlet.keep(wheel.log(), wheel.place(position), limit_bytes)?;
                wheel.hand_over(position, metrics);
            }
            (GroupMembers::Rounds(wheel), Outlet::Session(outlet)) => {
                outlet.keep(wheel.log(), wheel.place(position), limit_bytes)?;
                wheel.hand_over(position, metrics);
            }
            // An event stream has no way to say anything.
            _ => return Ok(()),
        }
        let kind = member.outlet.kind();
        self.leave_group(key, None);
        self.enter_group(key, GroupKey { subscription, format, kind });
        Ok(())
    }

    fn subscription_of(&mut self, key: MemberKey) -> Option<Subscription> {
        match self.members.get(key)?.phase {
            Phase::Live { group, .. } => Some(self.groups.get_mut(group)?.key.subscription.clone()),
            _ => None,
        }
    }

    fn answer(&mut self, key: MemberKey, reply: Reply, answer: String) -> Result<(), CloseReason> {
        match reply {
            // Whoever waited may have gone.
            Reply::Waiting(waiting) => drop(waiting.send(answer)),
            Reply::Socket => {
                let Some(outlet) = self.socket_of(key) else { return Ok(()) };
                let bytes = outlet.protocol.answer(&answer);
                self.answer_socket(key, &bytes)?;
            }
        }
        Ok(())
    }

    fn answer_socket(&mut self, key: MemberKey, bytes: &[u8]) -> Result<(), CloseReason> {
        match self.members.get(key).map(|member| &member.phase) {
            Some(Phase::Live { .. }) => self.write_own(key, bytes),
            _ => {
                let limit_bytes = self.settings.backlog_bytes;
                let Some(outlet) = self.socket_of(key) else { return Ok(()) };
                outlet.add_own(bytes, limit_bytes)?;
                outlet.write_own().map(drop)
            }
        }
    }
}
