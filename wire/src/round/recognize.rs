//! The short way to tell that bytes are a round: one look at each byte, nothing copied, for the form in which publishers
//! write. What is written otherwise (escapes, other letters than ASCII, deep nesting) goes the long way, which also says
//! what is wrong.

use super::MAX_ROUND_BYTES;

/// Nesting of `extras` that is followed here.
const MAX_DEPTH: u32 = 32;

/// Digits of a number that fits whatever they are.
const MAX_DIGITS: usize = 18;

/// Days that each month has in every year.
const DAYS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// The identifier and the game of a round. `None` says nothing: see the module's documentation. What is recognized here
/// is valid by [`super::Round::parse`].
pub fn recognize(payload: &[u8]) -> Option<(u64, &str)> {
    if payload.len() > MAX_ROUND_BYTES {
        return None;
    }
    let mut scan = Scan { bytes: payload };
    scan.token(b"{")?;
    let round_id = scan.key(b"\"round_id\"")?.digits()?;
    scan.next_key(b"\"game_id\"")?.digits()?;
    let game_slug = scan.next_key(b"\"game_slug\"")?.text()?;
    scan.next_key(b"\"game_type\"")?.text()?;
    is_time(scan.next_key(b"\"finished_at\"")?.text()?)?;
    scan.next_key(b"\"extras\"")?.extras()?;
    scan.next_key(b"\"timestamp\"")?.digits()?;
    scan.token(b"}")?;
    // Plain text is ASCII.
    scan.bytes.is_empty().then_some(())?;
    Some((round_id, std::str::from_utf8(game_slug).ok()?))
}

/// What has not been looked at yet.
struct Scan<'a> {
    bytes: &'a [u8],
}

impl<'a> Scan<'a> {
    /// Exactly these bytes, and blanks behind them.
    fn token(&mut self, token: &[u8]) -> Option<&mut Self> {
        self.bytes = self.bytes.strip_prefix(token)?;
        while let [b' ', rest @ ..] = self.bytes {
            self.bytes = rest;
        }
        Some(self)
    }

    fn key(&mut self, name: &[u8]) -> Option<&mut Self> {
        self.token(name)?.token(b":")
    }

    fn next_key(&mut self, name: &[u8]) -> Option<&mut Self> {
        self.token(b",")?.key(name)
    }

    fn skip(&mut self, count: usize) -> Option<&'a [u8]> {
        let (skipped, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(skipped)
    }

    /// A number without sign, point or exponent.
    fn digits(&mut self) -> Option<u64> {
        let number = self.whole()?;
        self.token(b"")?;
        Some(number)
    }

    /// The same, and nothing of what is behind it.
    fn whole(&mut self) -> Option<u64> {
        let count = digits_at(self.bytes);
        let digits = self.skip(count)?;
        if count == 0 || count > MAX_DIGITS || (count > 1 && digits[0] == b'0') {
            return None;
        }
        Some(digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    }

    /// A string of plain text.
    fn text(&mut self) -> Option<&'a [u8]> {
        self.bytes = self.bytes.strip_prefix(b"\"")?;
        let text = self.skip(plain_at(self.bytes))?;
        self.token(b"\"")?;
        Some(text)
    }

    /// A string that holds JSON: in it, a quotation mark is `\"`.
    fn extras(&mut self) -> Option<()> {
        self.token(b"\"")?.value(MAX_DEPTH)?;
        self.token(b"\"")?;
        Some(())
    }

    /// A value inside `extras`.
    fn value(&mut self, depth: u32) -> Option<()> {
        match self.bytes.first()? {
            b'\\' => self.inner_text(),
            b'{' => self.items(b"{", b"}", depth.checked_sub(1)?, |scan, depth| {
                scan.inner_text()?;
                scan.token(b":")?.value(depth)
            }),
            b'[' => self.items(b"[", b"]", depth.checked_sub(1)?, Self::value),
            b't' => self.token(b"true").map(drop),
            b'f' => self.token(b"false").map(drop),
            b'n' => self.token(b"null").map(drop),
            _ => self.number(),
        }
    }

    fn inner_text(&mut self) -> Option<()> {
        self.bytes = self.bytes.strip_prefix(b"\\\"")?;
        self.skip(plain_at(self.bytes))?;
        self.token(b"\\\"").map(drop)
    }

    /// Items between brackets, with commas between them.
    fn items(
        &mut self,
        open: &[u8],
        close: &[u8],
        depth: u32,
        item: impl Fn(&mut Self, u32) -> Option<()>,
    ) -> Option<()> {
        self.token(open)?;
        if !self.bytes.starts_with(close) {
            item(self, depth)?;
            while self.bytes.starts_with(b",") {
                self.token(b",")?;
                item(self, depth)?;
            }
        }
        self.token(close).map(drop)
    }

    /// A number with sign and point, where it has them.
    fn number(&mut self) -> Option<()> {
        self.bytes = self.bytes.strip_prefix(b"-").unwrap_or(self.bytes);
        self.whole()?;
        if let Some(behind_point) = self.bytes.strip_prefix(b".") {
            self.bytes = behind_point;
            let count = digits_at(self.bytes);
            self.skip(count).filter(|digits| !digits.is_empty() && count <= MAX_DIGITS)?;
        }
        self.token(b"").map(drop)
    }
}

fn digits_at(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// How many bytes stand for themselves in a string: printable ASCII, but neither quotation mark nor backslash.
fn plain_at(bytes: &[u8]) -> usize {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'"' && *byte != b'\\';
    // All of a block without a branch, so that a long one is looked at many bytes at a time.
    let all_plain = |block: &[u8; 32]| block.iter().fold(true, |plain, byte| plain & is_plain(byte));
    let (blocks, _) = bytes.as_chunks::<32>();
    let whole = 32 * blocks.iter().take_while(|block| all_plain(block)).count();
    whole + bytes[whole..].iter().take_while(|byte| is_plain(byte)).count()
}

/// An RFC 3339 time with offset, on a day that is there in every year.
fn is_time(text: &[u8]) -> Option<()> {
    const FORM: &[u8; 19] = b"0000-00-00T00:00:00";
    let (time, behind) = text.split_first_chunk::<19>()?;
    let has_form =
        |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form };
    time.iter().zip(FORM).all(has_form).then_some(())?;
    let pair = |at: usize| u32::from(time[at] - b'0') * 10 + u32::from(time[at + 1] - b'0');
    let days = DAYS.get((pair(5) as usize).checked_sub(1)?)?;
    let is_there = (1..=*days).contains(&pair(8)) && pair(11) < 24 && pair(14) < 60 && pair(17) < 60;
    is_there.then_some(())?;
    let offset = match behind.strip_prefix(b".") {
        Some(fraction) => match digits_at(fraction) {
            count @ 1..=9 => &fraction[count..],
            _ => return None,
        },
        None => behind,
    };
    match offset {
        b"Z" => Some(()),
        [b'+' | b'-', h @ b'0'..=b'1', l, b':', b'0'..=b'5', minute]
            if l.is_ascii_digit() && minute.is_ascii_digit() && (*h, *l) < (b'1', b'5') =>
        {
            Some(())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::super::Round;
    use super::*;

    const SEED: &str = r#"{"round_id":512,"game_id":1,"game_slug":"crash","game_type":"multiplier","finished_at":"2026-01-17T00:45:42.735266-03:00","extras":"{\"point\": \"11.72\"}","timestamp":1768621542123}"#;

    #[test]
    fn what_publishers_write_is_recognized() {
        let with_blanks = SEED.replace(":1", ": 1").replace(":\"", ": \"").replace(",\"", ", \"");
        let extras = |text: &str| SEED.replace(r#"{\"point\": \"11.72\"}"#, text);
        let long = extras(&format!(r#"{{\"pad\":\"{}\"}}"#, "x".repeat(5000)));
        let nested = extras(r#"{\"a\":[1,-2.50,{},[],true,false,null,\"\"],\"b\":{\"c\":0}}"#);
        let at = |time: &str| SEED.replace("2026-01-17T00:45:42.735266-03:00", time);
        for round in [SEED, &with_blanks, &long, &nested, &extras("7"), &at("2026-12-31T23:59:59Z")] {
            assert_eq!(recognize(round.as_bytes()), Some((512, "crash")), "{round}");
        }
        for unusual in [
            SEED.replace("512", "0512"),
            SEED.replace("512", "9223372036854775808"),
            SEED.replace("crash", "cr\u{e4}sh"),
            SEED.replace("crash", r"cr\u0061sh"),
            format!("{SEED} {SEED}"),
            format!("{SEED}\n"),
            extras("1 .5"),
            extras("01"),
            extras("[1,]"),
            extras(r#"{\"a\"}"#),
            extras("[[[["),
            extras(&("[".repeat(40) + &"]".repeat(40))),
            at("2026-02-30T00:00:00Z"),
            at("2026-13-01T00:00:00Z"),
            at("2026-01-01T24:00:00Z"),
            at("2026-01-01T00:00:00"),
            at("2026-01-01T00:00:00.Z"),
            at("2026-01-01T00:00:00+24:00"),
        ] {
            assert_eq!(recognize(unusual.as_bytes()), None, "{unusual}");
        }
    }

    proptest! {
        /// A round with one place of it replaced by what might be taken for valid there, and a byte of it by any other.
        #[test]
        fn whatever_is_recognized_is_valid_and_says_the_same(
            piece in r#"[0-9]{1,20}|-?[0-9]{1,3}(\.[0-9]{0,3})?([eE][0-9])?|[ \[\]{},:tfn]{0,5}|\\\\"[a-z"\\\\]{0,4}|[0-9]{4}-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{0,10})?(Z|[+-][0-2][0-9]:[0-6][0-9])"#,
            place in 0..8_usize,
            changed in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let place = ["512", ":1,", "crash", "2026-01-17T00:45:42.735266-03:00", r#"{\"point\": \"11.72\"}"#, "11.72", "1768621542123", r#"\"11.72\""#][place];
            let mut bytes = SEED.replacen(place, &piece, 1).into_bytes();
            if let Some((index, byte)) = changed {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            if let Some((round_id, slug)) = recognize(&bytes) {
                let round = Round::parse(&bytes);
                prop_assert!(round.is_ok(), "{:?} of {}", round, String::from_utf8_lossy(&bytes));
                let round = round.expect("just looked at");
                prop_assert_eq!((round.round_id, round.game_slug), (round_id, Cow::Borrowed(slug)));
            }
        }
    }
}
