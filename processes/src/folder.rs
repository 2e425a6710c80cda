//! Folders of private servers.

use std::env;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::ProcessError;

/// Longest path of a folder that still leaves room for a socket's name: the kernel takes 107 bytes.
const FOLDER_PATH_BYTES: usize = 80;

/// A new folder that is removed with everything in it when dropped, short enough in name for Unix sockets.
pub(crate) fn create(prefix: &str) -> Result<TempDir, ProcessError> {
    let parent = parent();
    tempfile::Builder::new()
        .prefix(prefix)
        .tempdir_in(&parent)
        .map_err(|source| ProcessError::Folder { path: parent, source })
}

/// A folder for files of a program of someone else's, removed with everything in it when dropped.
#[derive(Debug)]
pub struct ScratchFolder(TempDir);

impl ScratchFolder {
    /// Makes one.
    ///
    /// # Errors
    /// [`ProcessError::Folder`] where it can't be made.
    pub fn new() -> Result<Self, ProcessError> {
        create("lastmile-scratch-").map(Self)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

fn parent() -> PathBuf {
    let wanted = env::temp_dir();
    if wanted.as_os_str().len() <= FOLDER_PATH_BYTES { wanted } else { PathBuf::from("/tmp") }
}

/// Percent-encodes a path for a place in a URL.
pub(crate) fn encode_path(path: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;

    let mut encoded = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            // Writing to a String has no way to fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_special_in_a_url_is_encoded() {
        assert_eq!(encode_path(Path::new("/tmp/a-b_c.d/x y?&%")), "/tmp/a-b_c.d/x%20y%3F%26%25");
    }
}
