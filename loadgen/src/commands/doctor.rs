//! `lastmile doctor`: what this machine lacks or limits, and what that means for a run.

use std::fmt::Write;
use std::fs;

use lastmile_processes::find_redis_server;

use crate::cli::DoctorArguments;
use crate::environment::{cores, redis_version};
use crate::preflight::Limits;
use crate::stack::program::ServerProgram;
use crate::transport::webtransport::SOCKET_BUFFER_BYTES;

/// Connections a run is comfortable with.
const MANY_CONNECTIONS: u64 = 10_000;

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Fine,
    /// A run works, within a limit.
    Limits,
    /// No run works.
    Prevents,
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub name: &'static str,
    /// How serious it is.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// What it means for a run, and what to do.
    pub meaning: String,
}

/// Looks at everything a run depends on.
pub fn examine(arguments: &DoctorArguments) -> Vec<Finding> {
    let limits = Limits::read();
    vec![
        redis(),
        server(arguments),
        descriptors(limits.descriptors),
        ports(limits.ports as u64),
        core_count(cores()),
        socket_buffers(number("/proc/sys/net/core/rmem_max")),
        kernel_clock(
            fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource").ok(),
        ),
        steal(fs::read_to_string("/proc/stat").ok().as_deref()),
    ]
}

/// The findings as a table for people.
pub fn table(findings: &[Finding]) -> String {
    let name_width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    let found_width = findings.iter().map(|finding| finding.found.chars().count()).max().unwrap_or(0).min(48);
    let mut text = String::new();
    for finding in findings {
        let sign = match finding.severity {
            Severity::Fine => "ok     ",
            Severity::Limits => "limits ",
            Severity::Prevents => "MISSING",
        };
        // Writing to a string has no way to fail.
        let _ = writeln!(
            text,
            "{sign}  {:name_width$}  {:found_width$}  {}",
            finding.name, finding.found, finding.meaning
        );
    }
    text.push_str(match findings.iter().map(|finding| finding.severity).max() {
        Some(Severity::Prevents) => "\nA run can't work on this machine until what is missing is there.\n",
        Some(Severity::Limits) => "\nA run works on this machine, within the limits above.\n",
        _ => "\nNothing on this machine limits a run.\n",
    });
    text
}

fn redis() -> Finding {
    let (severity, found, meaning) = match find_redis_server() {
        Ok(path) => {
            let version = redis_version().unwrap_or_else(|| "of unknown version".to_owned());
            let found = format!("{version} at {}", path.display());
            (Severity::Fine, found, "a run starts a private one".to_owned())
        }
        Err(error) => (Severity::Prevents, "not found".to_owned(), error.to_string()),
    };
    Finding { name: "redis-server", severity, found, meaning }
}

fn server(arguments: &DoctorArguments) -> Finding {
    let (severity, found, meaning) = match ServerProgram::find(arguments.server_bin.as_deref()) {
        Ok(program) => (
            Severity::Fine,
            program.path().display().to_string(),
            "a run starts a fresh one for every slice".to_owned(),
        ),
        Err(error) => (Severity::Prevents, "not found".to_owned(), error.to_string()),
    };
    Finding { name: "lastmile-server", severity, found, meaning }
}

fn descriptors(available: u64) -> Finding {
    let meaning = format!(
        "{} connections over ws or sse at most{}",
        available.saturating_sub(64),
        if available < MANY_CONNECTIONS {
            "; raise the hard limit for more (ulimit -Hn, as root)"
        } else {
            ""
        }
    );
    let severity = if available < MANY_CONNECTIONS { Severity::Limits } else { Severity::Fine };
    Finding { name: "file descriptors", severity, found: format!("{available} a process"), meaning }
}

fn ports(available: u64) -> Finding {
    let severity = if available < MANY_CONNECTIONS { Severity::Limits } else { Severity::Fine };
    let advice =
        if severity == Severity::Limits { "; widen net.ipv4.ip_local_port_range for more" } else { "" };
    Finding {
        name: "local ports",
        severity,
        found: available.to_string(),
        meaning: format!("{available} connections over ws or sse to one server at most{advice}"),
    }
}

fn core_count(cores: u32) -> Finding {
    let (severity, meaning) = if cores >= 4 {
        (Severity::Fine, "server, Redis, publisher and subscribers each find a core")
    } else {
        (
            Severity::Limits,
            "server, Redis and generator share them: latencies contain waiting for a core; compare protocols, not machines",
        )
    };
    Finding { name: "cores", severity, found: cores.to_string(), meaning: meaning.to_owned() }
}

fn socket_buffers(largest: Option<u64>) -> Finding {
    let wanted = SOCKET_BUFFER_BYTES as u64;
    let (severity, found, meaning) = match largest {
        Some(bytes) if bytes >= wanted => (
            Severity::Fine,
            format!("up to {bytes} bytes"),
            "clients of WebTransport get the receive buffers they ask for".to_owned(),
        ),
        largest => (
            Severity::Limits,
            largest.map_or_else(|| "unknown".to_owned(), |bytes| format!("up to {bytes} bytes")),
            format!(
                "wt-datagram may lose messages in the client's kernel; sysctl -w net.core.rmem_max={wanted}"
            ),
        ),
    };
    Finding { name: "socket buffers", severity, found, meaning }
}

fn kernel_clock(source: Option<String>) -> Finding {
    let source = source.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned());
    let (severity, meaning) = match source.as_str() {
        "tsc" | "kvm-clock" | "arch_sys_counter" | "hyperv_clocksource_tsc_page" => {
            (Severity::Fine, "reading the clock costs a few dozen nanoseconds")
        }
        _ => (Severity::Limits, "reading the clock may cost a system call: the generator costs more"),
    };
    Finding { name: "clock", severity, found: source, meaning: meaning.to_owned() }
}

/// Time a hypervisor gave to others since the machine started.
fn steal(stat: Option<&str>) -> Finding {
    let share = stat.and_then(steal_share);
    let (severity, found, meaning) = match share {
        Some(share) if share <= 0.01 => {
            (Severity::Fine, format!("{:.2} %", share * 100.0), "no other machine takes much of the cores")
        }
        Some(share) => (
            Severity::Limits,
            format!("{:.2} %", share * 100.0),
            "other machines take the cores at times: expect outliers that are nobody's fault here",
        ),
        None => (Severity::Limits, "unknown".to_owned(), "whether others take the cores can't be seen"),
    };
    Finding { name: "stolen time", severity, found, meaning: meaning.to_owned() }
}

fn steal_share(stat: &str) -> Option<f64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    let all: f64 = ticks.iter().take(8).sum();
    let steal = *ticks.get(7)?;
    (all > 0.0).then(|| steal / all)
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_told_with_what_to_do() {
        assert_eq!(descriptors(20_000).severity, Severity::Fine);
        let few = descriptors(1024);
        assert_eq!(few.severity, Severity::Limits);
        assert!(few.meaning.starts_with("960 connections") && few.meaning.contains("ulimit"), "{few:?}");
        assert_eq!(ports(28_232).severity, Severity::Fine);
        assert!(ports(1_000).meaning.contains("ip_local_port_range"));
        assert_eq!(core_count(2).severity, Severity::Limits);
        assert_eq!(socket_buffers(Some(4 << 20)).severity, Severity::Fine);
        assert!(socket_buffers(Some(212_992)).meaning.contains("sysctl"));
        assert_eq!(socket_buffers(None).severity, Severity::Limits);
        assert_eq!(kernel_clock(Some("hpet\n".into())).severity, Severity::Limits);
        assert_eq!(steal(Some("cpu  90 0 0 0 0 0 0 10 0 0\n")).found, "10.00 %");
    }

    #[test]
    fn the_table_ends_with_what_it_all_means() {
        let mut findings = vec![core_count(8)];
        assert!(table(&findings).contains("Nothing on this machine limits a run"));
        findings.push(core_count(1));
        assert!(table(&findings).contains("within the limits"));
        findings[0].severity = Severity::Prevents;
        assert!(table(&findings).contains("can't work"));
    }
}
