//! `lastmile demo`: a private Redis, the server, and rounds of all games, to look at in a browser.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lastmile_processes::ProcessError;
use lastmile_wire::channel::{KNOWN_GAMES, KnownGame, latest_key, stream_channel};
use lastmile_wire::round::Round;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::DemoArguments;
use crate::feed::Feed;
use crate::interrupt::Interrupt;
use crate::redis::{RedisConnection, RedisError, Replies, Wire, append_command};
use crate::stack::program::{ServerProgram, ServerProgramError};
use crate::stack::{Processes, StackError, StackPlan};
use crate::variant::Variant;

/// How long after Ctrl-C, or after a process died, it may take until that is noticed.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Why there is no demonstration, or no more.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No program to start.
    #[error(transparent)]
    Program(#[from] ServerProgramError),
    /// Redis or the server did not start.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// One of them ended.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Redis does not let us in.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// Redis broke off, or the terminal did.
    #[error("the demonstration ended: {0}")]
    Broken(#[from] io::Error),
    /// Redis refused a round.
    #[error("Redis refused a round: {0}")]
    Refused(String),
}

impl DemoError {
    /// It had begun.
    pub fn is_breakdown(&self) -> bool {
        matches!(self, Self::Process(_) | Self::Broken(_) | Self::Refused(_))
    }
}

/// Shows rounds until asked to end, then ends everything it started.
///
/// # Errors
/// [`DemoError`] where something does not start, or ends by itself.
pub fn execute(arguments: &DemoArguments, interrupt: &Interrupt) -> Result<(), DemoError> {
    let program = ServerProgram::find(arguments.server_bin.as_deref())?;
    let processes = Arc::new(Processes::default());
    interrupt.guard(&processes);
    let stack = StackPlan::Private { program, redis: None, stages: false }.make(
        Variant::WS,
        Arc::clone(&processes),
        &[],
        None,
    )?;
    let (Some(http), Feed::Redis(redis)) = (&stack.target.http, &stack.feed) else {
        // A private stack has both.
        return Err(io::Error::other("the server has no HTTP side").into());
    };
    let publisher = Publisher::new(RedisConnection::open(redis)?.into_wire());
    announce(&mut io::stdout().lock(), &format!("http://{}", http.address), arguments.rate)?;
    publisher.publish_until(arguments.rate, || interrupt.is_asked(), || Ok(processes.check_running()?))
}

fn announce(out: &mut impl Write, origin: &str, rate: f64) -> io::Result<()> {
    writeln!(out, "{rate} rounds a second of all games, live at")?;
    writeln!(out, "  {origin}/            overview")?;
    writeln!(out, "  {origin}/test.html   the protocols side by side")?;
    writeln!(out, "Ctrl-C ends it.")?;
    out.flush()
}

/// Makes rounds and publishes them, one game after the other.
struct Publisher {
    wire: Wire,
    replies: Replies,
    random: SmallRng,
    command: Vec<u8>,
}

impl Publisher {
    fn new(wire: Wire) -> Self {
        Self { wire, replies: Replies::default(), random: SmallRng::from_os_rng(), command: Vec::new() }
    }

    fn publish_until(
        mut self,
        rate: f64,
        is_over: impl Fn() -> bool,
        check: impl Fn() -> Result<(), DemoError>,
    ) -> Result<(), DemoError> {
        let pause = Duration::from_secs_f64(1.0 / rate);
        let mut due = Instant::now();
        for (game, number) in KNOWN_GAMES.iter().cycle().zip(0u64..) {
            while let Some(wait) = due.checked_duration_since(Instant::now()).filter(|wait| !wait.is_zero()) {
                if is_over() {
                    return Ok(());
                }
                thread::sleep(wait.min(LOOK_INTERVAL));
                check()?;
            }
            if is_over() {
                return Ok(());
            }
            self.publish(game, 1 + number / KNOWN_GAMES.len() as u64, &is_over)?;
            // From now, not from when it was due: after a pause of the machine there is nothing to make up for.
            due = Instant::now() + pause;
        }
        Ok(())
    }

    fn publish(
        &mut self,
        game: &KnownGame,
        round_id: u64,
        is_over: impl Fn() -> bool,
    ) -> Result<(), DemoError> {
        let round = self.round(game, round_id).to_json();
        self.command.clear();
        append_command(&mut self.command, "SET", &[latest_key(game.slug).as_bytes(), &round]);
        append_command(&mut self.command, "PUBLISH", &[stream_channel(game.slug).as_bytes(), &round]);
        self.wire.write(&self.command, &mut self.replies, is_over)?;
        self.wire.read_replies(&mut self.replies)?;
        self.replies.first_error.take().map_or(Ok(()), |error| Err(DemoError::Refused(error)))
    }

    /// A round that has just finished, with a result as its game has them.
    fn round(&mut self, game: &KnownGame, round_id: u64) -> Round<'static> {
        let now = OffsetDateTime::now_utc();
        // Fails only for years beyond four digits.
        let finished_at = now.format(&Rfc3339).unwrap_or_default();
        Round {
            round_id,
            game_id: game.id.into(),
            game_slug: game.slug.into(),
            game_type: game.game_type.into(),
            finished_at: finished_at.into(),
            extras: result(game.game_type, &mut self.random).into(),
            timestamp: (now.unix_timestamp_nanos() / 1_000_000) as i64,
        }
    }
}

/// What a round of such a game says beside its number, as JSON.
fn result(game_type: &str, random: &mut SmallRng) -> String {
    match game_type {
        // Half of the rounds are over before 2, one of a hundred goes beyond 100.
        "multiplier" => format!(r#"{{"point": "{:.2}"}}"#, 1.0 / (1.0 - random.random_range(0.0..0.999))),
        "color" => match random.random_range(0..15) {
            0 => r#"{"color": "white", "roll": 0}"#.to_owned(),
            roll => format!(r#"{{"color": "{}", "roll": {roll}}}"#, if roll < 8 { "red" } else { "black" }),
        },
        "slots" => {
            let mut reel = || ["cherry", "lemon", "bell", "star", "seven"][random.random_range(0..5)];
            format!(r#"{{"reels": ["{}", "{}", "{}"]}}"#, reel(), reel(), reel())
        }
        _ => {
            let change: f64 = random.random_range(-5.0..5.0);
            format!(r#"{{"trend": "{}", "change": "{change:.2}"}}"#, if change < 0.0 { "down" } else { "up" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_game_has_results_that_are_json() {
        let mut random = SmallRng::seed_from_u64(1);
        for game in KNOWN_GAMES {
            for _ in 0..100 {
                let extras = result(game.game_type, &mut random);
                let parsed: Result<serde_json::Value, _> = serde_json::from_str(&extras);
                assert!(parsed.is_ok_and(|value| value.is_object()), "{extras}");
            }
        }
    }
}
