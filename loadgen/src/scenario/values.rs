//! The values flags and files are made of: what is understood, and how it is written again.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::cores::Cores;
use crate::in_flight::MOST_IN_FLIGHT;
use crate::plan::Timestamps;
use crate::schedule::Arrivals;
use crate::variant::{Encoding, MOST_BATCH_MS};

/// Subscribers of a case.
pub const CONNECTIONS: RangeInclusive<i64> = 1..=1_000_000;
/// Messages a second.
pub const RATE: RangeInclusive<f64> = 0.001..=10_000_000.0;
/// Messages under way in a closed loop.
pub const IN_FLIGHT: RangeInclusive<i64> = 1..=MOST_IN_FLIGHT as i64;
/// Bytes of a message.
pub const PAYLOAD: RangeInclusive<i64> = 1..=1_048_576;
/// Games subscribers are spread over.
pub const GAMES: RangeInclusive<i64> = 1..=10_000;
/// Milliseconds a server may gather messages.
pub const BATCH_MS: RangeInclusive<i64> = 0..=MOST_BATCH_MS as i64;
/// Threads that drive subscribers.
pub const THREADS: RangeInclusive<i64> = 1..=1024;
/// Connections in the middle of being opened.
pub const CONNECTING: RangeInclusive<i64> = 1..=u16::MAX as i64;
/// Slices of a case.
pub const SLICES: RangeInclusive<i64> = 1..=1000;
/// Seeds. No larger than a whole number of a TOML file can be.
pub const SEED: RangeInclusive<i64> = 0..=i64::MAX;

/// Understands messages a second.
///
/// # Errors
/// What to give.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if RATE.contains(&rate) => Ok(rate),
        _ => Err("give messages a second, from 0.001 to 10000000".to_owned()),
    }
}

/// Understands the path of a stream.
///
/// # Errors
/// What to give.
pub fn parse_path(text: &str) -> Result<String, String> {
    if text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("give a path like /ws/crash".to_owned())
    }
}

/// Understands a length of time.
///
/// # Errors
/// What to give.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|character: char| !(character.is_ascii_digit() || character == '.'));
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let unit_s = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err("give a time like 10s, 500ms or 2m".to_owned()),
    };
    match number.parse::<f64>() {
        Ok(number) if number * unit_s <= 86_400.0 => Ok(Duration::from_secs_f64(number * unit_s)),
        Ok(_) => Err("at most a day".to_owned()),
        Err(_) => Err("give a time like 10s, 500ms or 2m".to_owned()),
    }
}

/// Writes a length of time so that [`parse_duration`] finds the same one.
pub fn write_duration(duration: Duration) -> String {
    let below_a_second = Duration::from_millis(1)..Duration::from_secs(1);
    if below_a_second.contains(&duration) && duration.subsec_nanos().is_multiple_of(1_000_000) {
        format!("{}ms", duration.subsec_millis())
    } else {
        format!("{}s", duration.as_secs_f64())
    }
}

/// Understands whose receipts are noted.
///
/// # Errors
/// What to give.
pub fn parse_timestamps(text: &str) -> Result<Timestamps, String> {
    match text {
        "user" => Ok(Timestamps::User),
        "kernel" => Ok(Timestamps::Kernel),
        _ => Err(format!("{text:?} has no receipts; give user or kernel")),
    }
}

/// The inverse of [`parse_timestamps`].
pub fn write_timestamps(timestamps: Timestamps) -> &'static str {
    match timestamps {
        Timestamps::User => "user",
        Timestamps::Kernel => "kernel",
    }
}

/// Understands how the cores are shared out.
///
/// # Errors
/// What to give.
pub fn parse_cores(text: &str) -> Result<Cores, String> {
    [Cores::Apart, Cores::Shared]
        .into_iter()
        .find(|cores| cores.name() == text)
        .ok_or_else(|| format!("{text:?} is no way to share cores; give apart or shared"))
}

/// Understands how messages are spaced.
///
/// # Errors
/// What to give.
pub fn parse_arrivals(text: &str) -> Result<Arrivals, String> {
    match text {
        "constant" => Ok(Arrivals::Constant),
        "poisson" => Ok(Arrivals::Poisson),
        _ => Err(format!("{text:?} is no spacing; give constant or poisson")),
    }
}

/// The inverse of [`parse_arrivals`].
pub fn write_arrivals(arrivals: Arrivals) -> &'static str {
    match arrivals {
        Arrivals::Constant => "constant",
        Arrivals::Poisson => "poisson",
    }
}

/// Understands how messages are written.
///
/// # Errors
/// What to give.
pub fn parse_encoding(text: &str) -> Result<Encoding, String> {
    match text {
        "json" => Ok(Encoding::Json),
        "msgpack" => Ok(Encoding::MessagePack),
        _ => Err(format!("{text:?} is no encoding; give json or msgpack")),
    }
}

/// Understands a switch.
///
/// # Errors
/// What to give.
pub fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(format!("{text:?} is neither on nor off")),
    }
}

/// Understands the slug of a game or the name of a type: what can stand in a path and in a channel's name.
///
/// # Errors
/// What to give.
pub fn parse_name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    if !text.is_empty() && text.len() <= 100 && text.bytes().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("give a name of letters, digits, '-', '_', '.' or '~', such as crash".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, milliseconds) in
            [("10s", 10_000), ("2", 2_000), ("500ms", 500), ("1.5m", 90_000), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "10 s", "10x", "-1s", "1e9s", "25h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_written_as_they_are_understood() {
        for nanoseconds in [0, 1, 999_999, 1_000_000, 350_000_000, 1_234_567_891, 86_399_999_999_999] {
            let duration = Duration::from_nanos(nanoseconds);
            assert_eq!(
                parse_duration(&write_duration(duration)),
                Ok(duration),
                "{}",
                write_duration(duration)
            );
        }
        assert_eq!(write_duration(Duration::from_secs(10)), "10s");
        assert_eq!(write_duration(Duration::from_millis(500)), "500ms");
    }

    #[test]
    fn rates_are_positive_numbers() {
        assert_eq!(parse_rate("0.5"), Ok(0.5));
        for text in ["0", "-1", "nan", "inf", "x", "1e8"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_can_stand_in_a_path() {
        assert!(parse_name("wall-street").is_ok());
        for text in ["", "a/b", "a b", "é", "a?b", &"x".repeat(101)] {
            assert!(parse_name(text).is_err(), "{text}");
        }
    }
}
