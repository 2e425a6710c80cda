//! Numbers as people read them: grouped thousands, units that fit, "—" for what is not known.

/// What stands where a figure could not be had.
pub const ABSENT: &str = "—";

/// A whole number with its thousands grouped: `1,234,567`.
pub fn whole(value: u64) -> String {
    group(&value.to_string())
}

/// A number with a fixed count of decimals and its thousands grouped; [`ABSENT`] where it is not finite.
pub fn fixed(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return ABSENT.to_owned();
    }
    let text = format!("{:.decimals$}", value.abs());
    let (integer, fraction) = text.split_once('.').unwrap_or((&text, ""));
    // "-0.0" would be a sign without a meaning.
    let negative = value < 0.0 && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
    let sign = if negative { "−" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{fraction}", group(integer))
}

/// A number with about three significant digits: `0.0431`, `5.62`, `12.6`, `389`, `52,310`.
pub fn short(value: f64) -> String {
    fixed(value, decimals(value))
}

/// Decimals that give a number of this size three significant digits.
pub fn decimals(value: f64) -> usize {
    let size = value.abs();
    if size == 0.0 || !size.is_finite() || size >= 99.95 {
        return 0;
    }
    // The nudge makes 9.996 count as the 10.0 it is printed as.
    (2 - (size * 1.000_5).log10().floor() as i32).clamp(0, 9) as usize
}

/// A share of a whole as a percentage: `0.043 %`. What is not nothing never reads as 0, what is not all never as 100.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return ABSENT.to_owned();
    }
    let share = part as f64 / whole as f64 * 100.0;
    let text = match share {
        _ if part == 0 => "0".to_owned(),
        _ if part >= whole => short(share),
        _ if share < 0.000_1 => "< 0.0001".to_owned(),
        _ if share > 99.995 => "> 99.99".to_owned(),
        _ if share > 99.0 => fixed(share, 2),
        _ => format!("{share:.*}", decimals(share).clamp(1, 4)),
    };
    format!("{text} %")
}

/// How many times larger one figure is than another: `2.2 ×`, or `1.03 ×` where they are close; `None` where there
/// is nothing to compare with.
pub fn times(value: f64, reference: f64) -> Option<String> {
    let ratio = value / reference;
    let decimals = match ratio {
        close if close < 1.195 => 2,
        small if small < 9.95 => 1,
        _ => 0,
    };
    (reference > 0.0 && ratio.is_finite()).then(|| format!("{} ×", fixed(ratio, decimals)))
}

/// A unit of time that a whole column or axis is told in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeUnit {
    /// µs.
    Microseconds,
    /// ms.
    Milliseconds,
    /// s.
    Seconds,
}

impl TimeUnit {
    /// The unit in which the value is at least one, or the smallest.
    pub fn of_us(value_us: f64) -> Self {
        match value_us.abs() {
            size if size >= 999_950.0 => Self::Seconds,
            size if size >= 999.95 => Self::Milliseconds,
            _ => Self::Microseconds,
        }
    }

    /// Its symbol.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Microseconds => "µs",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
        }
    }

    /// Microseconds in this unit.
    pub fn from_us(self, value_us: f64) -> f64 {
        match self {
            Self::Microseconds => value_us,
            Self::Milliseconds => value_us / 1e3,
            Self::Seconds => value_us / 1e6,
        }
    }
}

/// A time with a unit of its own: `389 µs`, `4.54 ms`.
pub fn time_us(value_us: f64) -> String {
    let unit = TimeUnit::of_us(value_us);
    format!("{} {}", short(unit.from_us(value_us)), unit.symbol())
}

/// A number of bytes, decimal units: `742 B`, `52.3 kB`, `8.32 GB`.
pub fn bytes(value: f64) -> String {
    let (scale, symbol) = match value.abs() {
        size if size >= 999.5e6 => (1e9, "GB"),
        size if size >= 999.5e3 => (1e6, "MB"),
        size if size >= 999.5 => (1e3, "kB"),
        _ => (1.0, "B"),
    };
    let scaled = value / scale;
    format!("{} {symbol}", if symbol == "B" { fixed(scaled, 0) } else { short(scaled) })
}

/// A count in short: `950`, `10.0 k`, `2.90 M`.
pub fn count(value: f64) -> String {
    match value.abs() {
        size if size >= 999_500.0 => format!("{} M", short(value / 1e6)),
        size if size >= 99_950.0 => format!("{} k", short(value / 1e3)),
        _ => short(value),
    }
}

/// A number as it was given, without needless decimals: `100`, `0.5`.
pub fn plain(value: f64) -> String {
    if value.fract() == 0.0 { fixed(value, 0) } else { short(value) }
}

/// Groups the thousands of a run of digits.
fn group(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(whole(0), "0");
        assert_eq!(whole(999), "999");
        assert_eq!(whole(1_234_567), "1,234,567");
        assert_eq!(fixed(1_234.5, 1), "1,234.5");
        assert_eq!(fixed(-1_234.5, 0), "−1,234");
        assert_eq!(fixed(-0.001, 1), "0.0");
        assert_eq!(fixed(f64::NAN, 1), ABSENT);
        assert_eq!(short(0.0431), "0.0431");
        assert_eq!(short(5.624), "5.62");
        assert_eq!(short(12.64), "12.6");
        assert_eq!(short(99.96), "100");
        assert_eq!(short(52_310.0), "52,310");
        assert_eq!(short(0.0), "0");
        assert_eq!(plain(100.0), "100");
        assert_eq!(plain(0.5), "0.500");
    }

    #[test]
    fn a_share_is_never_rounded_to_nothing_or_all() {
        assert_eq!(percent(0, 100), "0 %");
        assert_eq!(percent(100, 100), "100 %");
        assert_eq!(percent(43, 100_000), "0.0430 %");
        assert_eq!(percent(1, 1_000_000_000), "< 0.0001 %");
        assert_eq!(percent(999_999_999, 1_000_000_000), "> 99.99 %");
        assert_eq!(percent(99_957, 100_000), "99.96 %");
        assert_eq!(percent(1, 0), ABSENT);
    }

    #[test]
    fn units_fit_the_size() {
        assert_eq!(time_us(389.4), "389 µs");
        assert_eq!(time_us(999.96), "1.00 ms");
        assert_eq!(time_us(4_538.4), "4.54 ms");
        assert_eq!(time_us(1_203_441.0), "1.20 s");
        assert_eq!(time_us(0.25), "0.250 µs");
        assert_eq!(bytes(742.4), "742 B");
        assert_eq!(bytes(52_310.0), "52.3 kB");
        assert_eq!(bytes(8_324_104_192.0), "8.32 GB");
        assert_eq!(bytes(-2_048.0), "−2.05 kB");
        assert_eq!(count(10_000.0), "10,000");
        assert_eq!(count(2_900_000.0), "2.90 M");
    }

    #[test]
    fn ratios_need_something_to_compare_with() {
        assert_eq!(times(12.6, 5.6).as_deref(), Some("2.2 ×"));
        assert_eq!(times(5.7, 5.6).as_deref(), Some("1.02 ×"));
        assert_eq!(times(52_310.0, 742.0).as_deref(), Some("70 ×"));
        assert_eq!(times(1.0, 0.0), None);
    }
}
