//! A test program, no server to use: lastmile-server with a planted regression, to prove that `lastmile gate` finds one.
//!
//! Beside the real server runs a thread that burns a share of the processor time the server uses: with
//! `SLOWER_SERVER_CPU=30` the process costs 30 % more for the same work. Every flag is lastmile-server's.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use lastmile_server::{Config, Server};
use rustix::time::{ClockId, clock_gettime};

/// By how many per cent.
const VARIABLE: &str = "SLOWER_SERVER_CPU";
/// How often it is looked what is owed.
const INTERVAL: Duration = Duration::from_millis(2);

fn main() -> ExitCode {
    let per_cent = std::env::var(VARIABLE).ok().and_then(|text| text.parse::<f64>().ok());
    let Some(per_cent) = per_cent.filter(|per_cent| (0.0..=1000.0).contains(per_cent)) else {
        eprintln!("slower-server: set {VARIABLE} to the per cent of processor time to plant, for example 30");
        return ExitCode::from(2);
    };
    let server = match Server::start(&Config::parse()) {
        Ok(server) => server,
        Err(error) => {
            eprintln!("slower-server: {error}");
            return ExitCode::from(2);
        }
    };
    let share = per_cent / 100.0;
    thread::spawn(move || burn(share));
    match server.run_until_signal(|server| println!("{}", server.ready_line())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("slower-server: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Keeps this thread's processor time at a share of what all others use, from now on.
fn burn(share: f64) {
    let now = || (seconds(ClockId::ProcessCPUTime), seconds(ClockId::ThreadCPUTime));
    let (process_before, own_before) = now();
    loop {
        let (process, own) = now();
        let own = own - own_before;
        let others = (process - process_before) - own;
        if own < share * others {
            // A little at a time, so that what is owed is read anew.
            for number in 0..2_000_u32 {
                std::hint::black_box(number);
            }
        } else {
            thread::sleep(INTERVAL);
        }
    }
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
