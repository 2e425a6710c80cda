//! What the floor programs are told.

use std::{io, process};

/// The flags of a floor program.
#[derive(Debug)]
pub struct Options {
    /// Path of a Redis Unix socket.
    pub redis: String,
    /// Where to listen.
    pub listen: String,
    /// The program's one switch was given.
    pub switch: bool,
}

/// Runs a floor program whose one switch is called `switch`; ends the process with code 2 where that fails.
pub fn run(program: &str, switch: &str, serve: impl FnOnce(&Options) -> io::Result<()>) {
    let served = options(switch).map_err(io::Error::other).and_then(|options| serve(&options));
    if let Err(error) = served {
        eprintln!("{program}: {error}");
        process::exit(2);
    }
}

fn options(switch: &str) -> Result<Options, String> {
    let mut options = Options { redis: String::new(), listen: "127.0.0.1:0".into(), switch: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--redis" => {
                let given = arguments.next().ok_or("--redis needs the path of a socket")?;
                given.trim_start_matches("redis+unix://").clone_into(&mut options.redis);
            }
            "--listen" => options.listen = arguments.next().ok_or("--listen needs an address")?,
            given if given == switch => options.switch = true,
            other => {
                return Err(format!(
                    "unknown argument {other}; use --redis SOCKET [--listen ADDRESS] [{switch}]"
                ));
            }
        }
    }
    if options.redis.is_empty() {
        return Err("--redis SOCKET is needed: the path of a Redis Unix socket".into());
    }
    Ok(options)
}
