//! Where the server's program is.

use std::env;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Its file name.
const NAME: &str = "lastmile-server";
/// The environment variable that names it.
const VARIABLE: &str = "LASTMILE_SERVER_BIN";

/// A program that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerProgram {
    path: PathBuf,
    /// What it gets beside the flags every server gets.
    arguments: Vec<String>,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerProgramError {
    /// The one named is none.
    #[error("{origin} names {}, which is no program that can be run; name one, or build ours with: cargo build --release", path.display())]
    NotExecutable {
        /// Who named it.
        origin: &'static str,
        /// What was named.
        path: PathBuf,
    },
    /// None named, none found.
    #[error(
        "{NAME} was not found beside this program or on PATH; build it with: cargo build --release, \
         name it with --server-bin or {VARIABLE}, or measure a running server with --target"
    )]
    NotFound,
}

impl ServerProgram {
    /// Finds it: as named on the command line, else in the environment, else beside this program, else on PATH.
    ///
    /// # Errors
    /// [`ServerProgramError`] says what to do.
    pub fn find(named: Option<&Path>) -> Result<Self, ServerProgramError> {
        let from_environment = env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
        let named = [("--server-bin", named.map(Path::to_owned)), (VARIABLE, from_environment)];
        for (origin, path) in named {
            if let Some(path) = path {
                return if is_executable(&path) {
                    Ok(Self::at(path))
                } else {
                    Err(ServerProgramError::NotExecutable { origin, path })
                };
            }
        }
        // Tests run from a folder below the one with the programs.
        let own_folders = env::current_exe().unwrap_or_default();
        let search_path = env::var_os("PATH").unwrap_or_default();
        own_folders
            .ancestors()
            .skip(1)
            .take(2)
            .map(Path::to_owned)
            .chain(env::split_paths(&search_path))
            .map(|folder| folder.join(NAME))
            .find(|path| is_executable(path))
            .map(Self::at)
            .ok_or(ServerProgramError::NotFound)
    }

    fn at(path: PathBuf) -> Self {
        Self { path, arguments: Vec::new() }
    }

    /// The same with further flags.
    #[must_use]
    pub fn with_arguments(self, arguments: Vec<String>) -> Self {
        Self { arguments, ..self }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its further flags.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_program_must_be_one() {
        let this = env::current_exe().unwrap();
        assert_eq!(ServerProgram::find(Some(&this)).unwrap().path(), this);
        for path in ["/nowhere/at-all", "/etc/passwd", "/tmp"] {
            let error = ServerProgram::find(Some(Path::new(path))).unwrap_err().to_string();
            assert!(error.contains("--server-bin names") && error.contains("cargo build"), "{error}");
        }
    }
}
