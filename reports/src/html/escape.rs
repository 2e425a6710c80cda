//! Text that stays text.

use std::fmt;

/// Text of any origin, safe between tags and in quoted attributes.
pub struct Text<'a>(pub &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            formatter.write_str(&rest[..at])?;
            formatter.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        formatter.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_becomes_text() {
        assert_eq!(Text("a <b> & 'c' \"d\"").to_string(), "a &lt;b&gt; &amp; &#39;c&#39; &quot;d&quot;");
        assert_eq!(Text("µ — ✓").to_string(), "µ — ✓");
        assert_eq!(Text("").to_string(), "");
    }
}
