//! Which cores server and subscribers run on.
//!
//! Where they share all cores, the kernel's scheduler decides whom it sets beside whom. A `send` over loopback wakes the
//! receiver as one that the sender is about to wait for, so it is often put behind the sender on the *same* core, while another
//! idles: a message that takes 4 ms to reach a thousand subscribers then takes 7. Which of the two a second gets is luck, and
//! says nothing of the server. Apart, it can't happen.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How the cores are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cores {
    /// Everyone runs anywhere.
    Shared,
    /// The server keeps to one half of them and the subscribers to the other.
    Apart,
}

/// A half for the server and a half for the subscribers, none of them empty.
#[derive(Debug, Clone, Copy)]
pub struct Halves {
    /// The server's.
    pub server: CpuSet,
    /// That of the threads that drive subscribers.
    pub subscribers: CpuSet,
}

impl Cores {
    /// As flags and files have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Apart => "apart",
        }
    }

    /// What is whose, of the cores this thread may use. `None` where everyone uses all of them, which is so too where there is
    /// only one.
    pub fn halves(self) -> Option<Halves> {
        match self {
            Self::Shared => None,
            Self::Apart => {
                let all = sched_getaffinity(None).ok().filter(|all| all.count() > 1)?;
                let [server, subscribers] = halves(&all);
                Some(Halves { server, subscribers })
            }
        }
    }
}

/// Cores in two halves; of an odd number the second has one more.
pub fn halves(all: &CpuSet) -> [CpuSet; 2] {
    let cores = numbers(all);
    let (first, second) = cores.split_at(cores.len() / 2);
    [first, second].map(|half| {
        let mut set = CpuSet::new();
        for core in half {
            set.set(*core);
        }
        set
    })
}

/// Lets this thread, and what it starts, run on these cores only. A refusal leaves it where it is, which costs evenness
/// and shows as noise.
pub fn keep_this_thread_to(cores: Option<&CpuSet>) {
    if let Some(cores) = cores {
        let _ = sched_setaffinity(None, cores);
    }
}

/// `0–3`, `1`, `0, 2–3`.
pub fn words(cores: &CpuSet) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for core in numbers(cores) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => ranges.push((core, core)),
        }
    }
    let range = |(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}–{last}") }
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(", ")
}

fn numbers(cores: &CpuSet) -> Vec<usize> {
    (0..CpuSet::MAX_CPU).filter(|core| cores.is_set(*core)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(cores: impl IntoIterator<Item = usize>) -> CpuSet {
        let mut set = CpuSet::new();
        cores.into_iter().for_each(|core| set.set(core));
        set
    }

    #[test]
    fn halves_of_the_cores_are_disjoint_and_whole() {
        for (all, first, second) in [
            (vec![0, 1], vec![0], vec![1]),
            (vec![2, 5, 6], vec![2], vec![5, 6]),
            ((0..64).collect(), (0..32).collect(), (32..64).collect()),
        ] {
            assert_eq!(halves(&set(all)), [set(first), set(second)]);
        }
    }

    #[test]
    fn a_thread_that_has_one_core_shares_it() {
        let threads = std::thread::spawn(|| {
            let all = sched_getaffinity(None).unwrap();
            let first = numbers(&all)[0];
            keep_this_thread_to(Some(&set([first])));
            assert_eq!(numbers(&sched_getaffinity(None).unwrap()), [first]);
            Cores::Apart.halves().is_none()
        });
        assert!(threads.join().unwrap());
        assert!(Cores::Shared.halves().is_none());
    }

    #[test]
    fn cores_are_told_as_ranges() {
        assert_eq!(words(&set([0])), "0");
        assert_eq!(words(&set([0, 1, 2, 4, 6, 7])), "0–2, 4, 6–7");
    }
}
