//! The server program: flags, logs, signals; everything else is the library.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use lastmile_server::config::LogFormat;
use lastmile_server::{Config, Handle, Server, check_config};
use sd_notify::NotifyState;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let config = Config::parse();
    let filter = match EnvFilter::try_new(&config.log) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("lastmile-server: --log {}: {error}; use a level such as info", config.log);
            return ExitCode::from(2);
        }
    };
    if config.check_config {
        return check(&config);
    }
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log.with_ansi(colours).init(),
        LogFormat::Json => log.json().init(),
    }

    let server = match Server::start(&config) {
        Ok(server) => server,
        Err(error) => {
            eprintln!("lastmile-server: {error}");
            return ExitCode::from(2);
        }
    };
    let on_ready = |server: &Handle| {
        println!("{}", server.ready_line());
        // Fails only where systemd did not start this, or does not listen.
        let _ = sd_notify::notify(false, &[NotifyState::Ready]);
    };
    match server.run_until_signal(on_ready) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lastmile-server: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says what would be served, or what is wrong.
fn check(config: &Config) -> ExitCode {
    match check_config(config) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("lastmile-server: {error}");
            ExitCode::from(2)
        }
    }
}
