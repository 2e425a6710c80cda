//! The committed seeds and a bounded random run, in every run of the suite.

use lastmile_fuzz_bodies::{TARGETS, run, seeds};

/// Any number will do; the same in every run, so that a failure is one for everybody.
const RANDOM_SEED: u64 = 6455;

#[test]
fn every_target_holds_for_its_seeds_and_for_random_inputs_made_of_them() {
    for target in &TARGETS {
        let seeds = seeds(target).expect("fuzz/seeds has a folder for every target");
        assert!(!seeds.is_empty(), "{}: seeds", target.name);
        let ran = run(target, &seeds, RANDOM_SEED, |number| number < target.executions);
        let ran = ran.unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(ran, seeds.len() as u64 + target.executions);
    }
}

#[test]
fn every_target_has_its_cargo_fuzz_program() {
    let manifest = include_str!("../../Cargo.toml");
    for target in &TARGETS {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{}.rs\"", target.name)), "{}", target.name);
        let path = format!("{}/../fuzz_targets/{}.rs", env!("CARGO_MANIFEST_DIR"), target.name);
        let program = std::fs::read_to_string(&path).expect("a program for cargo-fuzz");
        assert!(program.contains(&format!("bodies::{}(input)", target.name)), "{path}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}
