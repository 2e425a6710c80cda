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
