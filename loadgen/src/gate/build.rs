//! From what a user names to something that can be measured: a program, a git reference that is built in a worktree of
//! its own, or a command.

use std::env;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lastmile_processes::{Child, Launch, ProcessError};
use lastmile_reports::gate::Build;
use rustix::fs::{FlockOperation, flock};

use crate::interrupt::Interrupt;
use crate::stack::program::{ServerProgram, ServerProgramError};

/// What builds a revision, in the root of its worktree; `CARGO_TARGET_DIR` leads into the cache.
const BUILD_COMMAND: &str = "cargo build --release --locked --package lastmile-server";
/// What it leaves, below the target folder.
const BUILD_OUTPUT: &str = "release/lastmile-server";
/// How long git may take for a question.
const GIT_PATIENCE: Duration = Duration::from_secs(60);

/// How git references are built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildOptions {
    /// The command, instead of cargo's build of lastmile-server.
    pub command: Option<String>,
    /// The program it leaves, relative to the worktree.
    pub output: Option<PathBuf>,
    /// Where finished builds are kept, instead of the user's cache folder.
    pub cache: Option<PathBuf>,
}

/// Why there is nothing to measure.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Neither a program nor a reference.
    #[error(
        "{role} {name:?} is neither a program nor a git reference of the repository in {}: {git}; give a path such as \
         target/release/lastmile-server, or a branch, tag or commit", folder.display()
    )]
    Unknown {
        /// `--base` or `--candidate`.
        role: &'static str,
        /// As given.
        name: String,
        /// Where git was asked.
        folder: PathBuf,
        /// What git said.
        git: String,
    },
    /// A path that leads to no program.
    #[error("{role}: {source}")]
    Program {
        /// `--base` or `--candidate`.
        role: &'static str,
        /// Why not.
        source: ServerProgramError,
    },
    /// git or the build command could not be run, or did not succeed.
    #[error("{role} {name} ({revision}) could not be built: {source}")]
    Build {
        /// `--base` or `--candidate`.
        role: &'static str,
        /// As given.
        name: String,
        /// What it stands for.
        revision: String,
        /// What failed, with the end of its output.
        source: Box<ProcessError>,
    },
    /// The command succeeded and left nothing.
    #[error("{role} {name} was built with `{command}`, which left no program at {}; say where with --build-output", output.display())]
    NoOutput {
        /// `--base` or `--candidate`.
        role: &'static str,
        /// As given.
        name: String,
        /// The build command.
        command: String,
        /// Where it was looked for.
        output: PathBuf,
    },
    /// The cache can't be used.
    #[error("builds can't be kept in {}: {source}; choose another folder with --cache", path.display())]
    Cache {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Stopped by the user.
    #[error("interrupted while {role} was built")]
    Interrupted {
        /// `--base` or `--candidate`.
        role: &'static str,
    },
}

/// Resolves one side. A name that is a file is that program; anything else is asked of git.
///
/// # Errors
/// [`BuildError`] says what to do.
pub fn resolve(
    role: &'static str,
    name: &str,
    options: &BuildOptions,
    interrupt: &Interrupt,
) -> Result<(Build, ServerProgram), BuildError> {
    let path = Path::new(name);
    if path.is_file() {
        // Every block starts it anew, maybe from another folder.
        let absolute = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let program =
            ServerProgram::find(Some(&absolute)).map_err(|source| BuildError::Program { role, source })?;
        let build =
            Build { name: name.to_owned(), program: absolute.display().to_string(), ..Build::default() };
        return Ok((build, program));
    }
    let folder = env::current_dir().unwrap_or_default();
    let revision =
        revision(name).map_err(|git| BuildError::Unknown { role, name: name.to_owned(), folder, git })?;
    let cache = Cache::open(options)?;
    let program = cache.program(role, name, &revision, options, interrupt)?;
    let build = Build {
        name: name.to_owned(),
        revision: Some(revision),
        program: program.display().to_string(),
        ..Build::default()
    };
    let program =
        ServerProgram::find(Some(&program)).map_err(|source| BuildError::Program { role, source })?;
    Ok((build, program))
}

/// The commit a reference stands for, or what git said.
fn revision(name: &str) -> Result<String, String> {
    // A leading dash would be read as an option.
    if name.is_empty() || name.starts_with('-') {
        return Err("that is no name".to_owned());
    }
    let reference = format!("{name}^{{commit}}");
    let output = Command::new("git")
        .args(["rev-parse", "--verify", "--end-of-options", &reference])
        .output()
        .map_err(|error| format!("git can't be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.trim().lines().next().unwrap_or("it said nothing").trim_start_matches("fatal: ").to_owned())
}

/// Finished builds by revision, and what makes the next one fast.
struct Cache {
    folder: PathBuf,
}

impl Cache {
    fn open(options: &BuildOptions) -> Result<Self, BuildError> {
        let folder = match &options.cache {
            Some(folder) => folder.clone(),
            None => user_cache().join("lastmile/builds"),
        };
        let failed = |source| BuildError::Cache { path: folder.clone(), source };
        fs::create_dir_all(&folder).map_err(failed)?;
        let folder = fs::canonicalize(&folder).map_err(failed)?;
        Ok(Self { folder })
    }

    /// The program of a revision, built unless it was before.
    fn program(
        &self,
        role: &'static str,
        name: &str,
        revision: &str,
        options: &BuildOptions,
        interrupt: &Interrupt,
    ) -> Result<PathBuf, BuildError> {
        let failed = |source| BuildError::Cache { path: self.folder.clone(), source };
        let finished = self.folder.join(key(revision, options)).join("lastmile-server");
        // Two gates at once take turns, and the second finds what the first has built.
        let lock = File::create(self.folder.join("lock")).map_err(failed)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        if finished.is_file() {
            return Ok(finished);
        }
        if io::stderr().is_terminal() {
            eprintln!("building {name} ({})", revision.get(..12).unwrap_or(revision));
        }
        let failed_build = |source| BuildError::Build {
            role,
            name: name.to_owned(),
            revision: revision.get(..12).unwrap_or(revision).to_owned(),
            source: Box::new(source),
        };
        // Always at the same place, so that the build system finds its dependencies where it left them.
        let tree = Worktree::add(self.folder.join("tree"), revision).map_err(failed_build)?;
        let target = self.folder.join("target");
        let command = options.command.as_deref().unwrap_or(BUILD_COMMAND);
        let build = Launch::new("the build", "/bin/sh")
            .arguments(["-c", command])
            .folder(&tree.path)
            .environment("CARGO_TARGET_DIR", &target)
            .spawn()
            .map_err(failed_build)?;
        match finish(&build, interrupt).map_err(failed_build)? {
            Finish::Success => {}
            Finish::Failure => build.check_running().map_err(failed_build)?,
            Finish::Interrupted => return Err(BuildError::Interrupted { role }),
        }
        let output = match &options.output {
            Some(output) => tree.path.join(output),
            None => target.join(BUILD_OUTPUT),
        };
        if !output.is_file() {
            return Err(BuildError::NoOutput {
                role,
                name: name.to_owned(),
                command: command.to_owned(),
                output,
            });
        }
        keep(&output, &finished).map_err(failed)?;
        Ok(finished)
    }
}

/// Another command makes another program of the same revision.
fn key(revision: &str, options: &BuildOptions) -> String {
    if options.command.is_none() && options.output.is_none() {
        return revision.to_owned();
    }
    let mut hasher = DefaultHasher::new();
    (&options.command, &options.output).hash(&mut hasher);
    format!("{revision}-{:08x}", hasher.finish() as u32)
}

/// Copies a program so that it is there whole or not at all.
fn keep(output: &Path, finished: &Path) -> io::Result<()> {
    let folder = finished.parent().unwrap_or(finished);
    fs::create_dir_all(folder)?;
    let beside = folder.join(format!(".{}.part", std::process::id()));
    fs::copy(output, &beside).and_then(|_| fs::rename(&beside, finished)).inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

fn user_cache() -> PathBuf {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(env::temp_dir)
}

enum Finish {
    Success,
    Failure,
    Interrupted,
}

/// Waits for a build; the user may lose patience.
fn finish(build: &Child, interrupt: &Interrupt) -> Result<Finish, ProcessError> {
    loop {
        match build.wait(Duration::from_millis(100))? {
            Some(status) if status.success() => return Ok(Finish::Success),
            Some(_) => return Ok(Finish::Failure),
            None if interrupt.is_asked() => return Ok(Finish::Interrupted),
            None => {}
        }
    }
}

/// A checkout of a revision beside the user's own, which is never touched. Gone when dropped.
struct Worktree {
    path: PathBuf,
}

impl Worktree {
    fn add(path: PathBuf, revision: &str) -> Result<Self, ProcessError> {
        let tree = Self { path };
        // One that a killed gate left.
        tree.remove();
        git(&["worktree", "add", "--detach", "--force"], &tree.path, Some(revision))?;
        Ok(tree)
    }

    fn remove(&self) {
        if self.path.exists() {
            let _ = git(&["worktree", "remove", "--force"], &self.path, None);
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

impl Drop for Worktree {
    fn drop(&mut self) {
        self.remove();
    }
}

fn git(arguments: &[&str], path: &Path, revision: Option<&str>) -> Result<(), ProcessError> {
    let launch = Launch::new("git worktree", "git").arguments(arguments.iter().copied()).argument(path);
    let child = revision.into_iter().fold(launch, Launch::argument).spawn()?;
    match child.wait(GIT_PATIENCE)? {
        Some(status) if status.success() => Ok(()),
        Some(_) => child.check_running(),
        None => Err(child.timed_out("finish", GIT_PATIENCE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_tells_build_commands_apart() {
        let plain = BuildOptions::default();
        let make = BuildOptions { command: Some("make".into()), ..BuildOptions::default() };
        assert_eq!(key("abc", &plain), "abc");
        assert!(key("abc", &make).starts_with("abc-") && key("abc", &make) == key("abc", &make));
    }

    #[test]
    fn a_name_that_is_nothing_says_what_to_give() {
        let interrupt = Interrupt::default();
        for name in ["no-such-branch-anywhere", "--upload-pack=x", ""] {
            let error =
                resolve("--base", name, &BuildOptions::default(), &interrupt).unwrap_err().to_string();
            assert!(error.contains("neither a program nor a git reference"), "{error}");
        }
        let error = resolve("--base", "/etc/passwd", &BuildOptions::default(), &interrupt).unwrap_err();
        assert!(error.to_string().contains("no program that can be run"), "{error}");
    }
}
