//! When the client's kernel had a message: receive timestamps of the network stack (`SO_TIMESTAMPING`), told in the
//! one clock of every figure.
//!
//! The kernel stamps with `CLOCK_REALTIME`. Both clocks are slewed alike, so their distance stays the same until
//! somebody sets the time; it is measured before and after a slice, and a slice in which it changed has no kernel
//! figures.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};

use hdrhistogram::Histogram;
use lastmile_reports::histogram::new_latency_histogram;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrLike, SockaddrStorage, TimestampingFlag, recvmsg, setsockopt,
    sockopt,
};

use crate::clock::{self, SECOND_NS};
use crate::recorder::{add_histogram, record};

/// A change of the clocks' distance larger than this, beyond what both measurements may be off, is one.
const DRIFT_NS: u64 = 1_000;

/// How far `CLOCK_REALTIME` is ahead of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// By so much, give or take [`Self::bound_ns`].
    pub ahead_ns: i64,
    /// Largest error of it.
    pub bound_ns: u64,
}

impl Offset {
    /// Measures it: the wall clock between two looks at the other one, the closest of many.
    pub fn measure() -> Self {
        let once = || {
            let before_ns = clock::now_ns();
            let wall_ns = clock::wall_ns();
            let after_ns = clock::now_ns();
            let middle_ns = before_ns + (after_ns - before_ns) / 2;
            Self { ahead_ns: wall_ns as i64 - middle_ns as i64, bound_ns: (after_ns - before_ns).div_ceil(2) }
        };
        (0..31)
            .map(|_| once())
            .fold(once(), |best, next| if next.bound_ns < best.bound_ns { next } else { best })
    }

    /// How far another measurement is from this one, beyond what both may be off; `None` where it is not.
    pub fn moved_ns(&self, other: &Self) -> Option<u64> {
        let distance_ns = self.ahead_ns.abs_diff(other.ahead_ns);
        (distance_ns > self.bound_ns + other.bound_ns + DRIFT_NS).then_some(distance_ns)
    }

    /// A stamp of the kernel in the clock's time.
    fn in_clock(&self, stamp: KernelStamp) -> u64 {
        (stamp.0 as i64 - self.ahead_ns).max(0) as u64
    }
}

/// When the kernel received something, by `CLOCK_REALTIME` in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelStamp(pub u64);

/// Asks the kernel to stamp what a socket receives.
///
/// # Errors
/// What the system said.
pub fn stamp_receipts(socket: &impl AsFd) -> io::Result<()> {
    let flags = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE;
    Ok(setsockopt(&socket.as_fd(), sockopt::Timestamping, &flags)?)
}

/// Receives with stamps: room for what the kernel says beside the bytes.
#[derive(Debug)]
pub struct StampedReceiver {
    control: Vec<u8>,
}

/// What was received at once.
#[derive(Debug, Clone, Copy)]
pub struct Stamped {
    /// Bytes received.
    pub bytes: usize,
    /// When the last of them was with the kernel; `None` where it did not say.
    pub stamp: Option<KernelStamp>,
    /// From whom, on sockets without a connection.
    pub from: Option<std::net::SocketAddr>,
}

impl Default for StampedReceiver {
    fn default() -> Self {
        // Stamps are three times; there is room for a few other messages that someone else has asked for.
        Self { control: vec![0; 256] }
    }
}

impl StampedReceiver {
    /// Receives once.
    ///
    /// # Errors
    /// What the system said.
    #[inline]
    pub fn receive(&mut self, socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<Stamped> {
        let mut buffers = [IoSliceMut::new(buffer)];
        let socket = socket.as_fd().as_raw_fd();
        let control = Some(&mut self.control[..]);
        let message = recvmsg::<SockaddrStorage>(socket, &mut buffers, control, MsgFlags::empty())?;
        let stamp = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampsns(times) => {
                let ns = times.system.tv_sec() as u64 * SECOND_NS + times.system.tv_nsec() as u64;
                (ns > 0).then_some(KernelStamp(ns))
            }
            _ => None,
        });
        Ok(Stamped { bytes: message.bytes, stamp, from: message.address.as_ref().and_then(address) })
    }
}

fn address(address: &SockaddrStorage) -> Option<std::net::SocketAddr> {
    // A stream leaves it empty.
    if address.len() == 0 {
        return None;
    }
    let v4 = || address.as_sockaddr_in().map(|address| std::net::SocketAddrV4::from(*address).into());
    v4().or_else(|| address.as_sockaddr_in6().map(|address| std::net::SocketAddrV6::from(*address).into()))
}

/// What the kernel's stamps added up to.
#[derive(Debug, Clone)]
pub struct KernelRecording {
    /// The kernel's receipt − planned.
    pub latency: Histogram<u64>,
    /// The client's receipt − the kernel's.
    pub to_client: Histogram<u64>,
    /// Receipts without a stamp.
    pub unstamped: u64,
}

impl Default for KernelRecording {
    fn default() -> Self {
        Self { latency: new_latency_histogram(), to_client: new_latency_histogram(), unstamped: 0 }
    }
}

impl KernelRecording {
    /// Adds another worker's, or another slice's.
    pub fn merge(&mut self, other: &Self) {
        add_histogram(&mut self.latency, &other.latency);
        add_histogram(&mut self.to_client, &other.to_client);
        self.unstamped += other.unstamped;
    }
}

/// Puts stamps beside receipts; one a worker.
#[derive(Debug)]
pub struct KernelRecorder {
    offset: Offset,
    /// When the kernel had what is being handed out now.
    current_ns: Option<u64>,
    recording: KernelRecording,
}

impl KernelRecorder {
    /// With the distance of the clocks as it is now.
    pub fn new(offset: Offset) -> Self {
        Self { offset, current_ns: None, recording: KernelRecording::default() }
    }

    /// What is handed out from now on was received by the kernel then.
    #[inline]
    pub fn begin(&mut self, stamp: Option<KernelStamp>) {
        self.current_ns = stamp.map(|stamp| self.offset.in_clock(stamp));
    }

    /// A receipt that counts; when the kernel had it, where it said so. Times that can't be are counted.
    #[inline]
    pub fn note(&mut self, planned_ns: u64, received_ns: u64, out_of_range: &mut u64) -> Option<u64> {
        let Some(kernel_ns) = self.current_ns else {
            self.recording.unstamped += 1;
            return None;
        };
        let mut leg = |histogram, from_ns: u64, to_ns: u64| match to_ns.checked_sub(from_ns) {
            Some(ns) => record(histogram, ns, out_of_range),
            None => *out_of_range += 1,
        };
        leg(&mut self.recording.latency, planned_ns, kernel_ns);
        leg(&mut self.recording.to_client, kernel_ns, received_ns);
        Some(kernel_ns)
    }

    /// What was recorded.
    pub fn into_recording(self) -> KernelRecording {
        self.recording
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// The stamp of the first stamped receipt: the kernel begins to stamp a moment after it is asked to.
    fn stamped(watched: &impl AsFd, mut send: impl FnMut()) -> (Stamped, u64, u64) {
        let mut reader = StampedReceiver::default();
        for _ in 0..1_000 {
            let before_ns = clock::now_ns();
            send();
            // Long enough in the kernel to tell its time from ours.
            thread::sleep(Duration::from_millis(5));
            let after_ns = clock::now_ns();
            let received = reader.receive(watched, &mut [0; 64]).unwrap();
            assert_eq!(received.bytes, 5);
            if received.stamp.is_some() {
                return (received, before_ns, after_ns);
            }
        }
        panic!("the kernel never stamped anything");
    }

    fn in_between(stamp: Option<KernelStamp>, before_ns: u64, after_ns: u64) -> bool {
        let offset = Offset::measure();
        let ns = offset.in_clock(stamp.unwrap());
        (before_ns - offset.bound_ns..=after_ns + offset.bound_ns).contains(&ns)
    }

    #[test]
    fn tcp_and_udp_are_stamped_when_they_arrive_and_not_when_they_are_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = listener.accept().unwrap().0;
        stamp_receipts(&socket).unwrap();
        let (received, before_ns, after_ns) = stamped(&socket, || sender.write_all(b"hello").unwrap());
        assert!(in_between(received.stamp, before_ns, after_ns) && received.from.is_none(), "{received:?}");

        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(socket.local_addr().unwrap()).unwrap();
        stamp_receipts(&socket).unwrap();
        let (received, before_ns, after_ns) = stamped(&socket, || {
            sender.send(b"hello").unwrap();
        });
        assert!(in_between(received.stamp, before_ns, after_ns), "{received:?}");
        assert_eq!(received.from, Some(sender.local_addr().unwrap()));
    }

    #[test]
    fn clocks_keep_their_distance_and_a_step_is_seen() {
        let one = Offset::measure();
        assert_eq!(one.moved_ns(&Offset::measure()), None);
        let stepped = Offset { ahead_ns: one.ahead_ns + 5_000_000, ..one };
        assert_eq!(one.moved_ns(&stepped), Some(5_000_000));
    }

    #[test]
    fn receipts_without_a_stamp_and_times_that_can_not_be_are_counted() {
        let offset = Offset { ahead_ns: 1_000, bound_ns: 0 };
        let mut recorder = KernelRecorder::new(offset);
        let mut out_of_range = 0;
        assert_eq!(recorder.note(100, 900, &mut out_of_range), None);
        recorder.begin(Some(KernelStamp(1_500)));
        assert_eq!(recorder.note(100, 900, &mut out_of_range), Some(500));
        // Before it was planned, and after it was received.
        assert_eq!((recorder.note(600, 900, &mut out_of_range), out_of_range), (Some(500), 1));
        assert_eq!((recorder.note(100, 400, &mut out_of_range), out_of_range), (Some(500), 2));
        let recording = recorder.into_recording();
        assert_eq!((recording.latency.len(), recording.to_client.len(), recording.unstamped), (2, 2, 1));
        assert_eq!((recording.latency.max(), recording.to_client.max()), (400, 400));
    }
}
