//! New inputs out of known ones: what a target's inputs are made of is put together, cut, repeated and damaged.

use crate::{Random, Target};

/// Most bytes of an input, beyond what a seed has: above the limit of every reader.
const MAX_ADDED_BYTES: usize = 8192;

/// An input made of the target's seeds and tokens.
pub fn input(target: &Target, seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    // Now and then from nothing: tokens alone.
    let mut input = if random.below(8) == 0 { Vec::new() } else { random.one(seeds).clone() };
    let most = input.len() + MAX_ADDED_BYTES;
    for _ in 0..=random.below(6) {
        step(&mut input, target, seeds, random);
    }
    input.truncate(most);
    input
}

fn step(input: &mut Vec<u8>, target: &Target, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = (at + 1 + random.below(16)).min(input.len());
    match random.below(9) {
        0 => put(input, at, random.one::<&[u8]>(target.tokens)),
        1 => {
            // A token in place of as many bytes.
            let token = random.one(target.tokens);
            input.splice(at..(at + token.len()).min(input.len()), token.iter().copied());
        }
        2 => put(input, at, random.one::<Vec<u8>>(seeds)),
        3 => {
            let seed = random.one(seeds);
            input.truncate(at);
            input.extend_from_slice(&seed[random.below(seed.len() + 1)..]);
        }
        4 => input.truncate(at),
        5 => drop(input.drain(at..end)),
        6 => {
            let piece = input[at..end].repeat(1 + random.below(300));
            put(input, at, &piece);
        }
        7 if at < input.len() => input[at] ^= 1 << random.below(8),
        _ if at < input.len() => input[at] = random.number() as u8,
        _ => input.push(random.number() as u8),
    }
}

fn put(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    input.splice(at..at, piece.iter().copied());
}
