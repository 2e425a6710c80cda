//! What an operator tells a server: to read its files again, and to check its configuration.

use lastmile_processes::PrivateRedis;

use super::guard::{OTHER_TOKEN, TOKEN, ask, token_file};
use crate::common::{PATIENCE, Place, Program, Site, Way, certificate_files, get, round, run, soon};

#[test]
fn a_new_certificate_is_for_new_clients_and_leaves_the_others_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = || certificate_files(folder.path());
    let [certificate, key] = write();
    for flags in [&["--tls-cert", &certificate, "--tls-key", &key][..], &["--tls", "self-signed"]] {
        let mut site = Site::start(flags);
        run(async {
            let mut before = site.connect_all("crash").await;
            write();
            if flags.contains(&"self-signed") {
                site.server.certificate().renew().expect("a new certificate");
            } else {
                assert!(site.server.reload().is_empty());
            }
            let old = site.place.clone();
            site.place = Place::of_ready_line(&site.server.ready_line());
            assert_ne!(old.certificate, site.place.certificate);
            let mut after = site.connect_all("crash").await;
            site.publish("crash", &round("crash", 1));
            for subscriber in before.iter_mut().chain(&mut after) {
                assert_eq!(subscriber.next_id().await, 1, "{:?}", subscriber.way);
            }
            // What is new is known by its new hash alone, also over QUIC.
            assert!(ask(&old, Way::Stream, "/wt/crash", &[]).await.is_err());
            let told = get(&site.place, "/api/certificate").await;
            if flags.contains(&"self-signed") {
                assert_eq!(told.json()["value"], site.server.certificate_sha256());
            } else {
                assert_eq!(told.status, 404);
                std::fs::write(&key, "no key").expect("a file");
                assert_eq!(site.server.reload().len(), 1);
                assert_eq!(
                    get(&site.place, "/healthz").await.status,
                    200,
                    "the pair of before is still served"
                );
            }
        });
    }
}

#[test]
fn the_program_reloads_on_a_hangup() {
    let redis = PrivateRedis::start().expect("a Redis");
    let folder = tempfile::tempdir().expect("a folder");
    let path = token_file(&folder, &[TOKEN]);
    let program = Program::start(&redis, &["--token-file", &path]);
    run(async {
        let target = |token: &str| format!("/api/games?token={}", token.replace('+', "%2B"));
        assert_eq!(get(&program.place, &target(TOKEN)).await.status, 200);
        token_file(&folder, &[OTHER_TOKEN]);
        program.child.signal(lastmile_processes::Signal::HUP).expect("a signal");
        soon("the old token is worth nothing", async {
            while get(&program.place, &target(TOKEN)).await.status != 401 {}
        })
        .await;
        assert_eq!(get(&program.place, &target(OTHER_TOKEN)).await.status, 200);
    });
}

#[test]
fn a_server_for_everyone_says_what_is_open() {
    let redis = PrivateRedis::start().expect("a Redis");
    let url = redis.url();
    let common = ["--wt-listen", "127.0.0.1:0", "--database", "sqlite::memory:", "--redis", url.as_str()];
    let child = Program::launch(&[&common[..], &["--listen", "0.0.0.0:0"]].concat());
    child.read_line(PATIENCE).expect("a ready line");
    let log = child.log_tail();
    assert!(log.contains("open:") && log.contains("--token-file") && log.contains("not encrypted"), "{log}");
    let program = Program::start(&redis, &[]);
    assert!(!program.child.log_tail().contains("open:"), "{}", program.child.log_tail());
}

/// What `--check-config` says, and its exit code.
fn check(flags: &[&str]) -> (Option<i32>, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_lastmile-server"))
        .arg("--check-config")
        .args(flags)
        .output()
        .expect("a process");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).expect("text"))
}

#[test]
fn a_configuration_is_checked_without_a_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = token_file(&folder, &[TOKEN]);
    let memory = ["--database", "sqlite::memory:"];
    let (code, said) = check(&memory);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("http://127.0.0.1:3000") && said.contains("nothing to say"), "{said}");
    let open = [&memory[..], &["--listen", "0.0.0.0:3000", "--token-file", &tokens]].concat();
    let (code, said) = check(&open);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 known") && said.contains("not encrypted") && said.contains("50 new"), "{said}");
    assert!(!said.contains(TOKEN), "{said}");
    for (flags, words) in [
        (&["--token-file", "/nowhere/tokens"][..], "/nowhere/tokens"),
        (&["--tls-cert", "/nowhere/c", "--tls-key", "/nowhere/k"], "/nowhere/c"),
        (&["--redis", "http://x"], "--redis"),
        (&["--database", "mysql://secret@x"], "--database"),
        (&["--allow-origin", "example.com"], "--allow-origin"),
        (&["--trusted-proxy", "10.0.0.0/99"], "--trusted-proxy"),
        (&["--limits", "some"], "--limits"),
        (&["--connects-per-second", "many"], "--connects-per-second"),
    ] {
        let (code, said) = check(flags);
        assert_eq!(code, Some(2), "{flags:?}: {said}");
        assert!(
            said.contains(words) && !said.contains("secret") && !said.contains("panicked"),
            "{flags:?}: {said}"
        );
    }
}
