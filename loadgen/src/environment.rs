//! The machine and the versions a result was made with.

use std::fs;

use lastmile_processes::find_redis_server;
use lastmile_reports::schema::Environment;

/// What this machine is. `server_version` is what the server under test says of itself.
pub fn environment(server_version: Option<&str>, uses_private_redis: bool) -> Environment {
    let system = rustix::system::uname();
    let words = [system.sysname(), system.release(), system.machine()];
    let kernel: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let mut versions = vec![("lastmile".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    if let Some(version) = server_version {
        versions.push(("lastmile-server".to_owned(), version.to_owned()));
    }
    if let Some(version) = redis_version().filter(|_| uses_private_redis) {
        versions.push(("redis-server".to_owned(), version));
    }
    Environment {
        cpu: cpu_model(),
        cores: cores(),
        kernel: kernel.join(" "),
        memory_bytes: memory_bytes(),
        versions,
        git_revision: option_env!("LASTMILE_GIT_REVISION").map(str::to_owned),
    }
}

/// Cores this process may run on.
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
}

/// The version of the `redis-server` a private Redis is started from.
pub fn redis_version() -> Option<String> {
    let program = find_redis_server().ok()?;
    let output = std::process::Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().find_map(|word| word.strip_prefix("v=")).map(str::to_owned)
}

fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .find_map(|(key, value)| (key.trim() == name).then(|| value.trim().to_owned()))
    };
    // ARM kernels name no model, only numbers.
    value("model name").or_else(|| value("CPU part")).unwrap_or_else(|| "unknown".to_owned())
}

fn memory_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let environment = environment(Some("9.9"), false);
        assert!(environment.cores > 0 && environment.memory_bytes > 1 << 20);
        assert!(environment.kernel.starts_with("Linux "), "{}", environment.kernel);
        assert_ne!(environment.cpu, "");
        assert_eq!(environment.versions[0].0, "lastmile");
        assert_eq!(environment.versions[1], ("lastmile-server".to_owned(), "9.9".to_owned()));
    }
}
