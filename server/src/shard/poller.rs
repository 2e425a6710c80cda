//! The sockets of a shard in one epoll set, which itself is a single descriptor in the thread's runtime: an
//! idle connection costs no task and no timer.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::{fmt, io};

use rustix::buffer::spare_capacity;
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

/// See the module's documentation.
pub struct Poller {
    epoll: AsyncFd<OwnedFd>,
    events: Vec<Event>,
}

// The kernel's events have no form to be shown in.
impl fmt::Debug for Poller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Poller").field("epoll", &self.epoll).finish_non_exhaustive()
    }
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
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS_AT_A_TIME) })
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
    pub async fn wait(&mut self, out: &mut Vec<SocketEvent>) {
        loop {
            // Fails only when the runtime shuts down, which drops this future.
            let Ok(mut guard) = self.epoll.readable().await else { return std::future::pending().await };
            self.events.clear();
            let poll = Timespec { tv_sec: 0, tv_nsec: 0 };
            // The one error a valid descriptor can give is an interrupt; then the next round asks again.
            let _ = epoll::wait(self.epoll.get_ref(), spare_capacity(&mut self.events), Some(&poll));
            if self.events.is_empty() {
                // The set is level-triggered, its own descriptor in the runtime edge-triggered: only an empty
                // set may be waited for.
                guard.clear_ready();
                continue;
            }
            let ended = EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
            out.extend(self.events.iter().map(|&Event { flags, data }| SocketEvent {
                member: MemberKey::from_bits(data.u64()),
                readable: flags.intersects(ended),
                writable: flags.contains(EventFlags::OUT),
            }));
            return;
        }
    }
}

fn flags(writing: bool) -> EventFlags {
    let reading = EventFlags::IN | EventFlags::RDHUP;
    if writing { reading | EventFlags::OUT } else { reading }
}
