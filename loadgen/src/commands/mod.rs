//! The commands, each from its flags to its exit code.

pub mod capacity;
pub mod compare;
pub mod demo;
pub mod doctor;
pub mod gate;
pub mod history;
pub mod prepare;
pub mod report;
pub mod run;

use std::io::IsTerminal;
use std::path::PathBuf;

use lastmile_reports::terminal::TerminalOptions;

/// Something was wrong with what was asked, found before anything was measured.
pub const EXIT_USAGE: u8 = 2;
/// Something broke while it was measured.
pub const EXIT_BREAKDOWN: u8 = 3;
/// It was measured, the self-checks call it INVALID, and `--strict` was asked for.
pub const EXIT_INVALID: u8 = 3;

/// How standard output is drawn on.
pub fn terminal_options() -> TerminalOptions {
    let stdout = std::io::stdout();
    let is_terminal = stdout.is_terminal();
    let default = TerminalOptions::default();
    let width = match rustix::termios::tcgetwinsize(&stdout) {
        Ok(size) if is_terminal && size.ws_col > 0 => usize::from(size.ws_col),
        _ => default.width,
    };
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    TerminalOptions { width, color: is_terminal && !no_color }
}

/// What results are called beside each other: their paths without what all have in common at either end, so `base` and
/// `new` for `runs/base/result.json` and `runs/new/result.json`; whole paths where that tells no difference.
pub fn names_of(paths: &[PathBuf]) -> Vec<String> {
    let parts: Vec<Vec<String>> = paths
        .iter()
        .map(|path| path.iter().map(|part| part.to_string_lossy().into_owned()).collect())
        .collect();
    let shortest = parts.iter().map(Vec::len).min().unwrap_or(0);
    let alike =
        |part: &dyn Fn(&[String]) -> String| parts.windows(2).all(|pair| part(&pair[0]) == part(&pair[1]));
    let before = (0..shortest).take_while(|at| alike(&|of| of[*at].clone())).count();
    let behind = (0..shortest - before).take_while(|at| alike(&|of| of[of.len() - 1 - at].clone())).count();
    let names: Vec<String> =
        parts.iter().map(|of| of[before..of.len() - behind].join(std::path::MAIN_SEPARATOR_STR)).collect();
    if names.len() < 2 || names.iter().any(String::is_empty) {
        return paths.iter().map(|path| path.display().to_string()).collect();
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_called_by_what_sets_them_apart() {
        let names = |paths: &[&str]| names_of(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(names(&["/runs/base/result.json", "/runs/new/result.json"]), ["base", "new"]);
        assert_eq!(names(&["a.json", "b.json"]), ["a.json", "b.json"]);
        assert_eq!(
            names(&["x/a/1/result.json", "y/a/1/result.json", "y/b/1/result.json"]),
            ["x/a", "y/a", "y/b"]
        );
        assert_eq!(
            names(&["runs/result.json", "runs/result.json"]),
            ["runs/result.json", "runs/result.json"]
        );
        assert_eq!(
            names(&["runs/result.json", "runs/old/result.json"]),
            ["runs/result.json", "runs/old/result.json"]
        );
        assert_eq!(names(&["a/result.json"]), ["a/result.json"]);
        assert!(names(&[]).is_empty());
    }
}
