//! The sockets of a shard in one epoll set, which itself is a single descriptor in the thread's runtime: an
//! idle connection costs no task and no timer.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::inbox::MemberKey;

/// Events taken at a time, so that a crowd of talkative clients can't hold up a delivery for long.
const EVENTS_AT_A_TIME: usize = 128;

/// What happened to a member's socket.
#[derive(Debug, Clone, Copy)]
pub struct SocketEvent {
    /// The member.
    pub member: MemberKey,
    /// It can be read, or has ended.
    pub readable: bool,
    /// It takes more.
    pub writable: bool,
}

/// See the module's documentation. Clones are the same set.
#[derive(Debug, Clone)]
pub struct Poller {
    epoll: Arc<AsyncFd<OwnedFd>>,
}

impl Poller {
    /// An empty set. To be called on the runtime that will wait for it.
    ///
    /// # Errors
    /// Where the kernel gives no epoll descriptor.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        // SAFETY: the descriptor is owned by the `AsyncFd` and nobody replaces it.
        let epoll = unsafe { AsyncFd::register_with_interest(epoll, Interest::READABLE) }?;
        Ok(Self { epoll: Arc::new(epoll) })
    }

    /// Watches a socket: always for reading, for writing where asked.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn add(&self, socket: BorrowedFd<'_>, member: MemberKey, writing: bool) -> io::Result<()> {
        let data = EventData::new_u64(member.to_bits());
        Ok(epoll::add(self.epoll.get_ref(), socket, data, flags(writing))?)
    }

    /// Changes what a socket is watched for.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn modify(&self, socket: BorrowedFd<'_>, member: MemberKey, writing: bool) -> io::Result<()> {
        let data = EventData::new_u64(member.to_bits());
        Ok(epoll::modify(self.epoll.get_ref(), socket, data, flags(writing))?)
    }

    /// Waits until something happened and takes up to [`EVENTS_AT_A_TIME`] events into `out`. Cancel-safe.
    pub async fn wait(&self, out: &mut Vec<SocketEvent>) {
        loop {
            // Fails only when the runtime shuts down, which drops this future.
            let Ok(mut guard) = self.epoll.readable().await else { return std::future::pending().await };
            if take_events(self.epoll.get_ref().as_fd(), out) {
                return;
            }
            // The set is level-triggered, its own descriptor in the runtime edge-triggered: only an empty set may
            // be waited for.
            guard.clear_ready();
        }
    }
}

/// Takes what has happened; whether anything has.
fn take_events(epoll: BorrowedFd<'_>, out: &mut Vec<SocketEvent>) -> bool {
    let mut room = [const { MaybeUninit::<Event>::uninit() }; EVENTS_AT_A_TIME];
    let poll = Timespec { tv_sec: 0, tv_nsec: 0 };
    // The one error a valid descriptor can give is an interrupt; then the next round asks again.
    let Ok((events, _)) = epoll::wait(epoll, &mut room, Some(&poll)) else { return true };
    let ended = EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
    out.extend(events.iter().map(|&Event { flags, data }| SocketEvent {
        member: MemberKey::from_bits(data.u64()),
        readable: flags.intersects(ended),
        writable: flags.contains(EventFlags::OUT),
    }));
    !events.is_empty()
}

fn flags(writing: bool) -> EventFlags {
    let reading = EventFlags::IN | EventFlags::RDHUP;
    if writing { reading | EventFlags::OUT } else { reading }
}
