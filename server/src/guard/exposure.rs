//! What of a server is open, in words for whoever runs it.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use rustix::process::{Resource, getrlimit, setrlimit};

use super::{Guard, LimitMode};
use crate::Config;

/// File descriptors that are not for clients: listeners, Redis, the database, runtimes, those who are just told that
/// there is no room.
const OWN_DESCRIPTORS: u32 = 256;

/// Lets this process have as many file descriptors as it may, and gives the number that is left for clients.
pub fn open_descriptors() -> u32 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Then it stays at what it is.
    let _ = setrlimit(Resource::Nofile, limit);
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let current = u32::try_from(current).unwrap_or(u32::MAX);
    current.saturating_sub(OWN_DESCRIPTORS).max(current / 2)
}

/// What others than the users of this machine could do that not every operator would want. Nothing where the server
/// listens on loopback alone.
pub fn open_points(config: &Config, guard: &Guard) -> Vec<String> {
    let mut points = Vec::new();
    let reaches = |address: SocketAddr| !address.ip().to_canonical().is_loopback();
    if !config.listens_beyond_loopback() {
        return points;
    }
    let listening: Vec<String> = [config.listen, config.wt_listen]
        .into_iter()
        .filter(|at| reaches(*at))
        .map(|at| at.to_string())
        .collect();
    let listening = listening.join(" and ");
    if guard.tokens().is_none() {
        points.push(format!(
            "whoever reaches {listening} gets every stream, REST and /metrics, without a token; --token-file asks for one"
        ));
    }
    if reaches(config.listen) && !config.has_tls() {
        points.push(format!(
            "HTTP on {} is not encrypted: rounds and tokens can be read on the way; give --tls-cert and --tls-key, or put \
             a proxy with TLS in front of it",
            config.listen
        ));
    }
    if guard.origins().allows_all() {
        points.push("every web page may connect its visitors' browsers (--allow-origin '*')".to_owned());
    }
    if config.guard.limits == LimitMode::Off {
        points.push("no limit holds: one client can take the whole server (--limits off)".to_owned());
    }
    if guard.proxies().networks_of_everyone() {
        points.push("everyone may say who it is: --trusted-proxy covers all addresses".to_owned());
    }
    if let Some(path) = &config.guard.token_file
        && std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
    {
        points.push(format!("{} can be read by other users of this machine; chmod 600 it", path.display()));
    }
    points
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metrics::Metrics;

    fn points(flags: &[&str]) -> Vec<String> {
        let config = Config::from_flags(flags.iter().copied()).unwrap();
        let beyond = config.listens_beyond_loopback();
        let guard = Guard::new(&config.guard, beyond, 100, Arc::new(Metrics::new(1))).unwrap();
        open_points(&config, &guard)
    }

    #[test]
    fn a_server_for_everyone_says_what_is_open_and_one_for_this_machine_has_nothing_to_say() {
        assert_eq!(points(&["--limits", "off"]), [""; 0]);
        assert_eq!(points(&["--listen", "[::1]:0", "--wt-listen", "[::ffff:127.0.0.1]:0"]), [""; 0]);
        let open = points(&["--listen", "0.0.0.0:3000"]);
        assert_eq!(open.len(), 2, "{open:?}");
        assert!(open[0].contains("0.0.0.0:3000 gets") && open[0].contains("--token-file"), "{open:?}");
        assert!(open[1].contains("not encrypted"), "{open:?}");
        assert_eq!(points(&["--wt-listen", "0.0.0.0:4433"]).len(), 1, "WebTransport is encrypted");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        std::fs::write(&path, "a-token-of-twenty-ch").unwrap();
        let path = path.to_str().unwrap();
        let set_mode = |mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        let closed = ["--listen", "0.0.0.0:3000", "--tls", "self-signed", "--token-file", path];
        set_mode(0o600);
        assert_eq!(points(&closed), [""; 0]);
        set_mode(0o644);
        let opened = ["--allow-origin", "*", "--limits", "off", "--trusted-proxy", "0.0.0.0/0"];
        let open = points(&[&closed[..], &opened].concat()).join("\n");
        for word in ["--allow-origin", "--limits", "--trusted-proxy", "chmod 600"] {
            assert!(open.contains(word), "{word}: {open}");
        }
    }
}
