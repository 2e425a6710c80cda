//! Who runs on which cores while it is measured.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::sched_getaffinity;
use support::finish;
use support::place::Place;

/// The cores that a process or thread may use, as the kernel tells them.
fn cores_of(task: impl AsRef<Path>) -> String {
    let status = fs::read_to_string(task.as_ref().join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.unwrap().trim().to_owned()
}

/// Cores of a thread of the generator, by its name.
fn cores_of_thread(child: &Child, name: &str) -> String {
    let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let named = |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name);
    cores_of(tasks.map(|task| task.unwrap().path()).find(named).unwrap_or_else(|| panic!("no {name}")))
}

/// Cores of server, subscribers, canary and publisher in the middle of a run, and what the result says of them.
fn seen(flags: &str) -> ([String; 4], String) {
    let place = Place::new();
    let flags =
        format!("--protocols ws --connections 3 --warmup 0s --duration 60s --slices 1 --threads 1{flags}");
    let (child, _redis) = place.start_and_see(&flags, 20);
    let servers = place.processes();
    let [(server, _)] = &servers[..] else { panic!("one server: {servers:?}") };
    let server = cores_of(format!("/proc/{server}"));
    let [subscribers, canary, publisher] =
        ["subscribers 0", "canary", "publisher"].map(|name| cores_of_thread(&child, name));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    finish(child);
    let conditions = place.written().conditions;
    let told = conditions.into_iter().find(|(name, _)| name == "cores").unwrap().1;
    ([server, subscribers, canary, publisher], told)
}

#[test]
fn server_and_subscribers_have_a_half_of_the_cores_each_unless_they_are_to_share_them() {
    let all = cores_of("/proc/self");
    let ([server, subscribers, canary, publisher], told) = seen("");
    assert_eq!(canary, subscribers, "it stands for them");
    assert_eq!(publisher, all, "it keeps to no half");
    if sched_getaffinity(None).unwrap().count() > 1 {
        assert!(![&server, &subscribers].contains(&&all) && server != subscribers, "{server}, {subscribers}");
        let list = |cores: &str| cores.replace('-', "–").replace(',', ", ");
        assert_eq!(told, format!("server {}, subscribers {}", list(&server), list(&subscribers)));
    } else {
        assert_eq!((&server, &subscribers), (&all, &all));
    }

    let (cores, told) = seen(" --cores shared");
    assert_eq!(cores, [(); 4].map(|()| all.clone()));
    assert_eq!(told, "shared by server and subscribers");
}
