//! What the machine did meanwhile: processor time taken by the hypervisor, datagrams the kernel dropped, throttling of
//! the control group this program runs in. All of them only rise; a difference of two looks tells a window.

use std::fs;
use std::path::{Path, PathBuf};

/// Counters of the machine at one moment; `None` for what this machine does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostCounters {
    /// Processor time the hypervisor took, and all processor time, in the kernel's ticks.
    pub steal: Option<(u64, u64)>,
    /// Datagrams dropped for a full receive buffer, of IPv4 and IPv6.
    pub receive_buffer_drops: Option<u64>,
    /// Periods in which the control group, or one above it, was throttled.
    pub throttled_periods: Option<u64>,
}

impl HostCounters {
    /// Reads them.
    pub fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let drops = [
            named_column(&text("/proc/net/snmp"), "Udp:", "RcvbufErrors"),
            named_line(&text("/proc/net/snmp6"), "Udp6RcvbufErrors"),
        ];
        Self {
            steal: steal(&text("/proc/stat")),
            receive_buffer_drops: drops.into_iter().flatten().reduce(|left, right| left + right),
            throttled_periods: throttled(&cpu_groups(
                &text("/proc/self/cgroup"),
                &text("/proc/self/mountinfo"),
            )),
        }
    }

    /// What was added since an earlier look.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let difference = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        Self {
            steal: self.steal.zip(earlier.steal).map(|((stolen, all), (stolen_then, all_then))| {
                (stolen.saturating_sub(stolen_then), all.saturating_sub(all_then))
            }),
            receive_buffer_drops: difference(self.receive_buffer_drops, earlier.receive_buffer_drops),
            throttled_periods: difference(self.throttled_periods, earlier.throttled_periods),
        }
    }

    /// What two windows counted together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let sum = |one: Option<u64>, two: Option<u64>| match (one, two) {
            (Some(one), Some(two)) => Some(one + two),
            (one, two) => one.or(two),
        };
        let parts = |part: fn((u64, u64)) -> u64| sum(self.steal.map(part), other.steal.map(part));
        Self {
            steal: parts(|steal| steal.0).zip(parts(|steal| steal.1)),
            receive_buffer_drops: sum(self.receive_buffer_drops, other.receive_buffer_drops),
            throttled_periods: sum(self.throttled_periods, other.throttled_periods),
        }
    }

    /// The stolen part of all processor time, 0 to 1.
    pub fn steal_share(&self) -> Option<f64> {
        self.steal.map(|(stolen, all)| if all == 0 { 0.0 } else { stolen as f64 / all as f64 })
    }
}

/// The eighth column of the first line is stolen time; the first eight are all there is (guests are part of others).
fn steal(stat: &str) -> Option<(u64, u64)> {
    let ticks = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
    let ticks: Vec<u64> = ticks.map(|word| word.parse().ok()).collect::<Option<_>>()?;
    Some((*ticks.get(7)?, ticks.iter().sum()))
}

/// A value of a table whose rows begin with a prefix, the first one with the names.
fn named_column(text: &str, prefix: &str, name: &str) -> Option<u64> {
    let mut rows = text.lines().filter_map(|line| line.strip_prefix(prefix));
    let column = rows.next()?.split_whitespace().position(|found| found == name)?;
    rows.next()?.split_whitespace().nth(column)?.parse().ok()
}

fn named_line(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(char::is_whitespace));
    value?.trim().parse().ok()
}

/// The folders of the control group that limits this program's processor time, and of all above it. Both versions of
/// control groups are known; the first may be mounted for each controller apart.
fn cpu_groups(cgroup: &str, mountinfo: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in cgroup.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let is_unified = controllers.is_empty();
        if !is_unified && !controllers.split(',').any(|name| name == "cpu") {
            continue;
        }
        for (root, mount) in mounts(mountinfo, is_unified) {
            // In a container the group is told from the host's root, and mounted from somewhere below it.
            let below = Path::new(group).strip_prefix(&root).unwrap_or(Path::new(""));
            let folder = mount.join(below);
            let up_to_mount = folder.ancestors().take_while(|folder| folder.starts_with(&mount));
            folders.extend(up_to_mount.map(Path::to_owned));
        }
    }
    folders
}

/// Root and place of each mounted hierarchy of control groups that may limit processor time.
fn mounts(mountinfo: &str, unified: bool) -> Vec<(PathBuf, PathBuf)> {
    let mount = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let is_it = match kind.next()? {
            "cgroup2" => unified,
            "cgroup" => !unified && kind.nth(1)?.split(',').any(|option| option == "cpu"),
            _ => false,
        };
        let mut place = place.split(' ').skip(3);
        is_it.then_some((PathBuf::from(place.next()?), PathBuf::from(place.next()?)))
    };
    mountinfo.lines().filter_map(mount).collect()
}

/// `None` where no group has a limit to be throttled by.
fn throttled(folders: &[PathBuf]) -> Option<u64> {
    let periods = folders
        .iter()
        .filter_map(|folder| named_line(&fs::read_to_string(folder.join("cpu.stat")).ok()?, "nr_throttled"));
    periods.reduce(|left, right| left + right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_in_what_the_kernel_writes() {
        let stat = "cpu  10 20 30 400 5 6 7 80 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(steal(stat), Some((80, 558)));
        assert_eq!(steal("cpu  10 20\n"), None);
        let snmp = "Udp: InDatagrams NoPorts RcvbufErrors\nUdp: 100 2 7\nUdpLite: RcvbufErrors\nUdpLite: 9\n";
        assert_eq!(named_column(snmp, "Udp:", "RcvbufErrors"), Some(7));
        assert_eq!(named_column(snmp, "Udp:", "Sorrow"), None);
        assert_eq!(
            named_line("Udp6InErrors 3\nUdp6RcvbufErrors                \t5\n", "Udp6RcvbufErrors"),
            Some(5)
        );
    }

    #[test]
    fn the_groups_of_both_versions_are_found_up_to_their_root() {
        let mounted = "\
            31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n\
            32 23 0:28 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n";
        let found = cpu_groups("4:memory:/m\n3:cpu,cpuacct:/jobs/one\n", mounted);
        let expected = [
            "/sys/fs/cgroup/cpu,cpuacct/jobs/one",
            "/sys/fs/cgroup/cpu,cpuacct/jobs",
            "/sys/fs/cgroup/cpu,cpuacct",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
        let mounted = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            cpu_groups("0::/user.slice\n", mounted),
            ["/sys/fs/cgroup/user.slice", "/sys/fs/cgroup"].map(PathBuf::from)
        );
        // A container that sees its own group as the root of what is mounted.
        let mounted = "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup ro\n";
        assert_eq!(cpu_groups("0::/docker/abc/x\n", mounted)[0], PathBuf::from("/sys/fs/cgroup/x"));
        assert_eq!(cpu_groups("0::/elsewhere\n", mounted), [PathBuf::from("/sys/fs/cgroup")]);
    }

    #[test]
    fn throttling_of_a_group_and_of_one_above_it_adds_up() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("below");
        fs::create_dir(&below).unwrap();
        assert_eq!(throttled(std::slice::from_ref(&below)), None);
        fs::write(below.join("cpu.stat"), "nr_periods 10\nnr_throttled 3\nthrottled_time 9\n").unwrap();
        fs::write(folder.path().join("cpu.stat"), "usage_usec 10\nnr_periods 10\nnr_throttled 4\n").unwrap();
        assert_eq!(throttled(&[below, folder.path().to_owned()]), Some(7));
    }

    #[test]
    fn windows_are_differences_and_add_up() {
        let at = |stolen, all, drops| HostCounters {
            steal: Some((stolen, all)),
            receive_buffer_drops: drops,
            throttled_periods: None,
        };
        let window = at(15, 300, Some(9)).since(&at(10, 100, Some(5)));
        assert_eq!(window, at(5, 200, Some(4)));
        let both = window.plus(&at(0, 200, None));
        assert_eq!((both, both.throttled_periods), (at(5, 400, Some(4)), None));
        assert_eq!(both.steal_share(), Some(0.0125));
        assert_eq!(HostCounters::default().steal_share(), None);
    }

    #[test]
    fn this_machine_tells_at_least_its_processor_time() {
        let steal = HostCounters::read().steal;
        assert!(steal.is_some_and(|(stolen, all)| all > stolen), "{steal:?}");
    }
}
