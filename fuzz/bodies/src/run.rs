//! The driver that needs nothing but this package: every seed, then random inputs made of them.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::{fs, io};

use crate::{Random, Target, mutate};

/// How much of a failing input is shown.
const SHOWN_BYTES: usize = 1000;

/// An input for which something did not hold.
#[derive(Debug)]
pub struct Failure {
    /// The target.
    pub target: &'static str,
    /// Where the input comes from: a seed's name, or the number of the random input.
    pub origin: String,
    /// The input itself.
    pub input: Vec<u8>,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (target, origin, length) = (self.target, &self.origin, self.input.len());
        writeln!(formatter, "{target}, {origin}: the panic above comes of these {length} bytes:")?;
        write!(formatter, "{}", self.input[..length.min(SHOWN_BYTES)].escape_ascii())?;
        if length > SHOWN_BYTES { formatter.write_str(" …") } else { Ok(()) }
    }
}

/// The committed seeds of a target with their names, in order of these.
///
/// # Errors
/// Where the checkout lacks them.
pub fn seeds(target: &Target) -> io::Result<Vec<(String, Vec<u8>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds").join(target.name);
    let mut seeds = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        seeds.push((name, fs::read(&path)?));
    }
    seeds.sort();
    Ok(seeds)
}

/// Gives the target every seed, then random inputs, numbered from 0, for as long as `go_on` agrees to the number.
/// Tells how many inputs it was given.
///
/// # Errors
/// The first input that fails.
pub fn run(
    target: &Target,
    seeds: &[(String, Vec<u8>)],
    random_seed: u64,
    mut go_on: impl FnMut(u64) -> bool,
) -> Result<u64, Failure> {
    let attempt = |origin: &dyn Fn() -> String, input: Vec<u8>| {
        let held = catch_unwind(AssertUnwindSafe(|| (target.body)(&input)));
        held.map_err(|_| Failure { target: target.name, origin: origin(), input })
    };
    let mut executions = 0;
    for (name, input) in seeds {
        attempt(&|| format!("seed {name}"), input.clone())?;
        executions += 1;
    }
    let inputs: Vec<_> = seeds.iter().map(|(_, input)| input.clone()).collect();
    let mut random = Random::new(random_seed);
    for number in 0.. {
        if !go_on(number) {
            break;
        }
        let input = mutate::input(target, &inputs, &mut random);
        attempt(&|| format!("random input {number} of --random-seed {random_seed}"), input)?;
        executions += 1;
    }
    Ok(executions)
}
