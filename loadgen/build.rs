//! Puts the source tree's revision into release builds, so that every result says what it was made with.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A debug build would be rebuilt after every commit, and nobody publishes its figures.
    if env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    for path in
        ["../.git/logs/HEAD", "src", "../server/src", "../wire/src", "../reports/src", "../processes/src"]
    {
        if Path::new(path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    // Outside a checkout, in a release tarball say, there is no revision to tell.
    let Some(revision) = git(&["rev-parse", "HEAD"]) else { return };
    let is_dirty =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
    let suffix = if is_dirty { "-dirty" } else { "" };
    println!("cargo::rustc-env=LASTMILE_GIT_REVISION={revision}{suffix}");
}
