//! What is remembered of each address, for as long as it matters and for so many addresses at most.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::address::ClientKey;

/// Addresses told apart, about 100 bytes each. What is beyond shares one entry: whoever has so many addresses
/// limits only those that come as late as they do.
const MAX_ADDRESSES: usize = 65_536;

/// Time between two searches for entries that say nothing any more.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// A REST limit counts in minutes that begin with a client's first request.
const WINDOW: Duration = Duration::from_secs(60);

/// Where a client stands with its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Requests a minute.
    pub limit: u32,
    /// Those left.
    pub remaining: u32,
    /// Until there are as many again as the limit says.
    pub resets_in: Duration,
    /// This one was within the limit.
    pub is_allowed: bool,
}

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    /// It has too many.
    TooMany,
    /// They come too fast.
    TooFast,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct AddressTable {
    began: Instant,
    max_addresses: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<ClientKey, Entry>,
    swept: Duration,
}

/// Times count from the table's beginning.
#[derive(Debug, Default, Clone, Copy)]
struct Entry {
    open: u32,
    /// When the connections so far would have been all right at the allowed pace (the generic cell rate algorithm).
    paced_until: Duration,
    window_ends: Duration,
    requests: u32,
}

impl Entry {
    fn says_nothing(&self, now: Duration) -> bool {
        self.open == 0 && self.paced_until <= now && self.window_ends <= now
    }
}

impl Default for AddressTable {
    fn default() -> Self {
        Self { began: Instant::now(), max_addresses: MAX_ADDRESSES, state: Mutex::default() }
    }
}

impl AddressTable {
    /// Takes a connection into account. Gives the key it is counted under.
    ///
    /// # Errors
    /// Why it is not to be taken; then nothing is counted.
    pub fn connect(
        &self,
        key: ClientKey,
        at: Instant,
        per_second: Option<NonZeroU32>,
        most: Option<NonZeroU32>,
    ) -> Result<ClientKey, Turned> {
        let now = at.saturating_duration_since(self.began);
        let mut state = self.state();
        let key = self.key(&mut state, key, now);
        let entry = state.entries.entry(key).or_default();
        if most.is_some_and(|most| entry.open >= most.get()) {
            return Err(Turned::TooMany);
        }
        if let Some(per_second) = per_second {
            let pace = Duration::from_secs(1) / per_second.get();
            let paced_until = entry.paced_until.max(now) + pace;
            // Twice a second's worth at once.
            if paced_until > now + Duration::from_secs(2) {
                return Err(Turned::TooFast);
            }
            entry.paced_until = paced_until;
        }
        entry.open += 1;
        Ok(key)
    }

    /// A connection that was counted under this key has ended.
    pub fn disconnect(&self, key: ClientKey) {
        let mut state = self.state();
        if let Some(entry) = state.entries.get_mut(&key) {
            entry.open = entry.open.saturating_sub(1);
        }
    }

    /// Takes a request into account.
    pub fn request(&self, key: ClientKey, at: Instant, per_minute: NonZeroU32) -> Quota {
        let now = at.saturating_duration_since(self.began);
        let mut state = self.state();
        let key = self.key(&mut state, key, now);
        let entry = state.entries.entry(key).or_default();
        if entry.window_ends <= now {
            (entry.window_ends, entry.requests) = (now + WINDOW, 0);
        }
        let limit = per_minute.get();
        let is_allowed = entry.requests < limit;
        entry.requests += u32::from(is_allowed);
        Quota {
            limit,
            remaining: limit - entry.requests.min(limit),
            resets_in: entry.window_ends.saturating_sub(now),
            is_allowed,
        }
    }

    /// Addresses remembered now.
    pub fn len(&self) -> usize {
        self.state().entries.len()
    }

    /// None are.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whole at every moment, so a panic elsewhere leaves it usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key an address is counted under: its own, while there is room.
    fn key(&self, state: &mut State, key: ClientKey, now: Duration) -> ClientKey {
        if state.entries.len() >= self.max_addresses && !state.entries.contains_key(&key) {
            if now >= state.swept + SWEEP_INTERVAL {
                state.swept = now;
                state.entries.retain(|_, entry| !entry.says_nothing(now));
                // What a storm took is given back.
                if state.entries.len() < self.max_addresses / 4 {
                    state.entries.shrink_to_fit();
                }
            }
            if state.entries.len() >= self.max_addresses {
                return ClientKey::Others;
            }
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ClientKey = ClientKey::V4([192, 0, 2, 1]);
    const B: ClientKey = ClientKey::V4([192, 0, 2, 2]);

    fn number(of: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(of)
    }

    #[test]
    fn connections_are_limited_in_pace_and_in_number_for_each_address() {
        let table = AddressTable::default();
        let start = Instant::now();
        let connect =
            |key, ms: u64| table.connect(key, start + Duration::from_millis(ms), number(10), number(25));
        for _ in 0..20 {
            assert_eq!(connect(A, 0), Ok(A), "two seconds' worth at once");
        }
        assert_eq!(connect(A, 0), Err(Turned::TooFast));
        assert_eq!(connect(B, 0), Ok(B), "another address");
        assert_eq!(connect(A, 99), Err(Turned::TooFast));
        assert_eq!(connect(A, 101), Ok(A), "one more each tenth of a second");
        assert_eq!(connect(A, 101), Err(Turned::TooFast));
        for at in 1..=4 {
            assert_eq!(connect(A, 10_000 + at), Ok(A));
        }
        assert_eq!(connect(A, 20_000), Err(Turned::TooMany), "twenty-five are open");
        table.disconnect(A);
        assert_eq!(connect(A, 20_000), Ok(A));
    }

    #[test]
    fn requests_are_counted_by_the_minute() {
        let table = AddressTable::default();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let limit = number(3).unwrap();
        let left: Vec<(u32, bool)> = (0..5)
            .map(|_| table.request(A, at(1), limit))
            .map(|quota| (quota.remaining, quota.is_allowed))
            .collect();
        assert_eq!(left, [(2, true), (1, true), (0, true), (0, false), (0, false)]);
        assert!(table.request(B, at(1), limit).is_allowed);
        let refused = table.request(A, at(31), limit);
        assert_eq!((refused.is_allowed, refused.resets_in), (false, Duration::from_secs(30)));
        let next = table.request(A, at(61), limit);
        assert_eq!((next.is_allowed, next.remaining, next.resets_in), (true, 2, Duration::from_secs(60)));
    }

    #[test]
    fn a_flood_of_addresses_takes_a_bounded_room_and_gives_it_back() {
        let table = AddressTable { max_addresses: 100, ..AddressTable::default() };
        let start = Instant::now();
        let key = |number: u32| ClientKey::V4(number.to_be_bytes());
        assert_eq!(table.connect(A, start, number(1), None), Ok(A));
        for from in 0..1000 {
            let _ = table.connect(key(from), start, number(1), None);
        }
        assert!(table.len() <= 101, "{}", table.len());
        assert_eq!(
            table.connect(key(5000), start, number(1), None),
            Err(Turned::TooFast),
            "one of the others"
        );
        (0..99).for_each(|from| table.disconnect(key(from)));
        let later = start + Duration::from_secs(10);
        assert_eq!(table.connect(key(5000), later, number(1), None), Ok(key(5000)));
        assert!(table.len() < 10, "{}", table.len());
        assert_eq!(
            table.connect(A, later, None, number(1)),
            Err(Turned::TooMany),
            "who is connected is not forgotten"
        );
    }
}
