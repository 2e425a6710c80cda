//! Where the programs of private servers are found.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::ProcessError;

/// Names the `redis-server` to use, before all other places.
const REDIS_VARIABLE: &str = "LASTMILE_REDIS_SERVER";

/// Names the folder of `PostgreSQL`'s programs, before all other places.
const POSTGRES_VARIABLE: &str = "LASTMILE_POSTGRES_BIN";

/// Finds `redis-server`: `$LASTMILE_REDIS_SERVER`, then `$PATH`, then `.tools/bin` of the checkout this
/// program was built in, where the scripts put what they fetched.
///
/// # Errors
/// [`ProcessError::NotFound`], which says how to get it.
pub fn find_redis_server() -> Result<PathBuf, ProcessError> {
    if let Some(named) = env::var_os(REDIS_VARIABLE).filter(|value| !value.is_empty()) {
        let named = PathBuf::from(named);
        return if is_program(&named) {
            Ok(named)
        } else {
            Err(ProcessError::NotFound {
                program: "redis-server",
                advice: "LASTMILE_REDIS_SERVER is set, but names no program: unset or correct it",
            })
        };
    }
    let folders = search_path().into_iter().chain(tools_folder());
    find_in(folders, &["redis-server"]).map(|folder| folder.join("redis-server")).ok_or(
        ProcessError::NotFound {
            program: "redis-server",
            advice: "run scripts/bench, which fetches it, or install it: apt-get install redis-server",
        },
    )
}

/// Finds the folder that holds `initdb` and `postgres`: `$LASTMILE_POSTGRES_BIN`, then where distributions
/// put them (the newest version first), then `$PATH`.
///
/// # Errors
/// [`ProcessError::NotFound`], which says how to get them.
pub fn find_postgres_programs() -> Result<PathBuf, ProcessError> {
    let programs = ["initdb", "postgres"];
    if let Some(named) = env::var_os(POSTGRES_VARIABLE).filter(|value| !value.is_empty()) {
        return find_in([PathBuf::from(named)], &programs).ok_or(ProcessError::NotFound {
            program: "PostgreSQL",
            advice: "LASTMILE_POSTGRES_BIN is set, but holds no initdb and postgres: unset or correct it",
        });
    }
    let folders = packaged_postgres().into_iter().chain(search_path()).chain(tools_folder());
    find_in(folders, &programs).ok_or(ProcessError::NotFound {
        program: "PostgreSQL",
        advice: "run scripts/test, which fetches it, or install it: apt-get install postgresql",
    })
}

fn find_in(folders: impl IntoIterator<Item = PathBuf>, programs: &[&str]) -> Option<PathBuf> {
    folders.into_iter().find(|folder| programs.iter().all(|program| is_program(&folder.join(program))))
}

fn search_path() -> Vec<PathBuf> {
    env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default()
}

/// `.tools/bin` beside the build folder of this program. Not looked for from the working directory, which
/// may be anybody's.
fn tools_folder() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    program.ancestors().skip(1).map(|folder| folder.join(".tools/bin")).find(|folder| folder.is_dir())
}

/// Folders like `/usr/lib/postgresql/15/bin`, the highest version first.
fn packaged_postgres() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (parent, prefix) in [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")] {
        let Ok(entries) = std::fs::read_dir(parent) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse::<u32>().ok());
            if let Some(version) = version {
                found.push((version, entry.path().join("bin")));
            }
        }
    }
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, folder)| folder).collect()
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_counts_only_with_all_programs_executable() {
        let folder = tempfile::tempdir().expect("a folder");
        let make = |name: &str, mode: u32| {
            let path = folder.path().join(name);
            std::fs::write(&path, "").expect("a file");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("a mode");
        };
        make("initdb", 0o755);
        make("postgres", 0o644);
        let look = || find_in([folder.path().to_owned()], &["initdb", "postgres"]);
        assert_eq!(look(), None, "postgres is not executable");
        make("postgres", 0o755);
        assert_eq!(look().as_deref(), Some(folder.path()));
    }
}
