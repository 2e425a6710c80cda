//! Where a server that is told nothing keeps its database.

use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::StoreError;

/// The database in the user's data folder: `$XDG_DATA_HOME` or `~/.local/share`, then `lastmile/lastmile.db`.
///
/// # Errors
/// [`StoreError::NoDataFolder`] where the environment names neither.
pub fn default_url() -> Result<String, StoreError> {
    let folder = data_folder(std::env::var_os("XDG_DATA_HOME"), std::env::var_os("HOME"))?;
    Ok(sqlite_url(&folder.join("lastmile/lastmile.db")))
}

fn data_folder(data_home: Option<OsString>, home: Option<OsString>) -> Result<PathBuf, StoreError> {
    // The specification of these folders has relative paths ignored.
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(data_home)
        .or_else(|| absolute(home).map(|home| home.join(".local/share")))
        .ok_or(StoreError::NoDataFolder)
}

/// The URL of a file, whatever is in its name.
fn sqlite_url(path: &Path) -> String {
    let mut url = String::from("sqlite://");
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            url.push(byte.into());
        } else {
            // Writing to a String has no way to fail.
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_folder_follows_the_environment() {
        let folder = |data_home: Option<&str>, home: Option<&str>| {
            data_folder(data_home.map(OsString::from), home.map(OsString::from)).ok()
        };
        assert_eq!(folder(Some("/data"), Some("/home/me")), Some(PathBuf::from("/data")));
        assert_eq!(folder(None, Some("/home/me")), Some(PathBuf::from("/home/me/.local/share")));
        assert_eq!(folder(Some("relative"), Some("/home/me")), Some(PathBuf::from("/home/me/.local/share")));
        assert_eq!(folder(Some(""), None), None);
    }

    #[test]
    fn a_path_becomes_a_url_that_leads_back() {
        assert_eq!(sqlite_url(Path::new("/a b/c?#%.db")), "sqlite:///a%20b/c%3F%23%25.db");
    }
}
