//! A TOML file read by hand, so that every mistake is told with its line and column.

use std::fmt;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A mistake in a file, with the place it was made at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub path: String,
    /// Its line, from 1.
    pub line: usize,
    /// The character within the line, from 1.
    pub column: usize,
    /// What is wrong, and what to do.
    pub problem: String,
    /// The line itself, and how much of it is meant.
    source: String,
    width: usize,
}

impl std::error::Error for Mistake {}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, column, problem, source, width } = self;
        let number = line.to_string();
        let blank = " ".repeat(number.len());
        // Tabs stay, so that the mark stands below what it marks.
        let before = source.chars().take(column - 1);
        let indent: String = before.map(|character| if character == '\t' { '\t' } else { ' ' }).collect();
        write!(
            formatter,
            "{path}:{line}:{column}: {problem}\n {number} | {source}\n {blank} | {indent}{}",
            "^".repeat(*width)
        )
    }
}

/// A file's text and the name it goes by.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    /// How it is called in messages.
    pub path: &'a str,
    /// What is in it.
    pub text: &'a str,
}

impl<'a> Document<'a> {
    /// Reads it as TOML.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(&self) -> Result<Spanned<DeTable<'a>>, Mistake> {
        DeTable::parse(self.text).map_err(|error| {
            let at = error.span().unwrap_or(0..0);
            self.mistake(at, error.message().trim_end().to_owned())
        })
    }

    /// A mistake at these bytes.
    pub fn mistake(&self, at: Range<usize>, problem: String) -> Mistake {
        let mut start = at.start.min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &self.text[..start];
        let line_at = before.rfind('\n').map_or(0, |newline| newline + 1);
        let source = self.text[line_at..].lines().next().unwrap_or_default();
        let column = before[line_at..].chars().count() + 1;
        let marked = self.text.get(start..at.end).unwrap_or_default().lines().next().unwrap_or_default();
        Mistake {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column,
            problem,
            source: source.to_owned(),
            width: marked.chars().count().max(1),
        }
    }

    /// Its tables are read through this.
    pub fn table<'t>(&self, table: &'t DeTable<'t>) -> Table<'t>
    where
        'a: 't,
    {
        Table { document: *self, table }
    }
}

/// A table of a document.
#[derive(Debug, Clone, Copy)]
pub struct Table<'t> {
    document: Document<'t>,
    table: &'t DeTable<'t>,
}

/// A key and its value, or an element of the array that is its value.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'t> {
    document: Document<'t>,
    key: &'t str,
    value: &'t Spanned<DeValue<'t>>,
}

impl<'t> Table<'t> {
    /// Whether it has only keys of these.
    ///
    /// # Errors
    /// The first other one, with the known one most like it.
    pub fn check_keys(&self, known: &[&str]) -> Result<(), Mistake> {
        let strays = self.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref()));
        match strays.min_by_key(|key| key.span().start) {
            None => Ok(()),
            Some(key) => Err(self.document.mistake(key.span(), unknown("key", key.get_ref(), known))),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<Entry<'t>> {
        let (key, value) = self.table.get_key_value(key)?;
        Some(Entry { document: self.document, key: key.get_ref().as_ref(), value })
    }

    /// A value where there is one.
    ///
    /// # Errors
    /// What `read` says.
    pub fn optional<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Entry<'t>) -> Result<T, Mistake>,
    ) -> Result<Option<T>, Mistake> {
        self.get(key).map(|entry| read(&entry)).transpose()
    }

    /// Every entry, in the order of the file.
    pub fn entries(&self) -> Vec<Entry<'t>> {
        let entry = |(key, value): (&'t Spanned<_>, _)| {
            let key: &std::borrow::Cow<'t, str> = key.get_ref();
            Entry { document: self.document, key: key.as_ref(), value }
        };
        let mut entries: Vec<Entry<'t>> = self.table.iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.value.span().start);
        entries
    }
}

impl<'t> Entry<'t> {
    /// Its key.
    pub fn key(&self) -> &'t str {
        self.key
    }

    /// A mistake in this value.
    pub fn mistake(&self, problem: impl fmt::Display) -> Mistake {
        self.document.mistake(self.value.span(), format!("{}: {problem}", self.key))
    }

    fn wrong_kind(&self, wanted: impl fmt::Display) -> Mistake {
        let kind = self.value.get_ref().type_str();
        self.mistake(format_args!("{wanted} is wanted here, not {} {kind}", article(kind)))
    }

    /// A string.
    ///
    /// # Errors
    /// For anything else.
    pub fn string(&self) -> Result<&'t str, Mistake> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(text),
            _ => Err(self.wrong_kind("a string")),
        }
    }

    /// A string that `parse` understands.
    ///
    /// # Errors
    /// For anything else.
    pub fn parsed<T, E: fmt::Display>(&self, parse: impl Fn(&str) -> Result<T, E>) -> Result<T, Mistake> {
        parse(self.string()?).map_err(|problem| self.mistake(problem))
    }

    /// True or false.
    ///
    /// # Errors
    /// For anything else.
    pub fn boolean(&self) -> Result<bool, Mistake> {
        match self.value.get_ref() {
            DeValue::Boolean(value) => Ok(*value),
            _ => Err(self.wrong_kind("true or false")),
        }
    }

    /// A whole number within a range.
    ///
    /// # Errors
    /// For anything else.
    pub fn integer<T: TryFrom<i64>>(&self, range: &RangeInclusive<i64>) -> Result<T, Mistake> {
        let wanted = || format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(integer) = self.value.get_ref() else { return Err(self.wrong_kind(wanted())) };
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| range.contains(number)).and_then(|number| number.try_into().ok());
        number.ok_or_else(|| self.mistake(format_args!("{integer} is not {}", wanted())))
    }

    /// A number, whole or not, within a range.
    ///
    /// # Errors
    /// For anything else.
    pub fn number(&self, range: &RangeInclusive<f64>) -> Result<f64, Mistake> {
        let wanted = || format!("a number from {} to {}", range.start(), range.end());
        let number = match self.value.get_ref() {
            DeValue::Float(float) => float.as_str().parse().ok(),
            // A whole number of that size is exact as a float.
            DeValue::Integer(integer) => {
                i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|number| number as f64)
            }
            _ => return Err(self.wrong_kind(wanted())),
        };
        let number = number.filter(|number| range.contains(number));
        number.ok_or_else(|| self.mistake(format_args!("it is not {}", wanted())))
    }

    /// A table.
    ///
    /// # Errors
    /// For anything else.
    pub fn table(&self) -> Result<Table<'t>, Mistake> {
        match self.value.get_ref() {
            DeValue::Table(table) => Ok(Table { document: self.document, table }),
            _ => Err(self.wrong_kind("a table")),
        }
    }

    /// Whether it is a table.
    pub fn is_table(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::Table(_))
    }

    /// The elements of an array.
    ///
    /// # Errors
    /// For anything else.
    pub fn elements(&self) -> Result<Vec<Self>, Mistake> {
        match self.value.get_ref() {
            DeValue::Array(array) => Ok(array.iter().map(|value| Self { value, ..*self }).collect()),
            _ => Err(self.wrong_kind("an array")),
        }
    }

    /// One value, or an array of at least one, none of them twice.
    ///
    /// # Errors
    /// What `read` says, or that there are none.
    pub fn one_or_many<T: PartialEq>(
        &self,
        read: impl Fn(&Self) -> Result<T, Mistake>,
    ) -> Result<Vec<T>, Mistake> {
        if !matches!(self.value.get_ref(), DeValue::Array(_)) {
            return Ok(vec![read(self)?]);
        }
        let mut values = Vec::new();
        for element in self.elements()? {
            let value = read(&element)?;
            if values.contains(&value) {
                return Err(element.mistake("this is in the list twice"));
            }
            values.push(value);
        }
        if values.is_empty() {
            return Err(self.mistake("the list is empty; leave the key out to have the default"));
        }
        Ok(values)
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// That `name` is unknown, and what may have been meant.
pub fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let likeness = |known: &&&str| strsim::jaro_winkler(&name.to_lowercase().replace('_', "-"), known);
    let likest = known.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    match likest.filter(|known| likeness(known) > 0.75) {
        Some(known) => format!("unknown {what} {name:?}; did you mean {known:?}?"),
        None => format!("unknown {what} {name:?}; known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(text: &str, read: impl Fn(Table<'_>) -> Result<(), Mistake>) -> String {
        let document = Document { path: "a.toml", text };
        let parsed = match document.parse() {
            Ok(parsed) => parsed,
            Err(mistake) => return mistake.to_string(),
        };
        read(document.table(parsed.get_ref())).expect_err("a mistake").to_string()
    }

    #[test]
    fn a_mistake_has_its_place_and_its_line() {
        let told = mistake("rate = 1\n\tconections = 100 # few\n", |table| {
            table.check_keys(&["rate", "connections"])
        });
        assert_eq!(
            told,
            "a.toml:2:2: unknown key \"conections\"; did you mean \"connections\"?\n 2 | \tconections = 100 # few\n   | \t^^^^^^^^^^"
        );
        let told = mistake("'ä' = [10,\n  'é', -5]", |table| {
            let entry = table.get("ä").unwrap();
            entry.one_or_many(|entry| entry.integer::<u8>(&(1..=9))).map(drop)
        });
        assert!(told.starts_with("a.toml:1:8: ä: 10 is not a whole number from 1 to 9"), "{told}");
        let told = mistake("a = 1\nb = = 2", |_| Ok(()));
        assert!(told.starts_with("a.toml:2:5: "), "{told}");
        let told =
            mistake("", |table| table.check_keys(&[]).and(Err(table.document.mistake(9..12, "x".into()))));
        assert!(told.starts_with("a.toml:1:1: x"), "{told}");
    }

    #[test]
    fn values_of_another_kind_or_size_are_refused() {
        let told = |text: &str| {
            mistake(text, |table| {
                let entry = table.get("a").unwrap();
                entry.one_or_many(|entry| entry.number(&(0.5..=10.0))).map(drop)
            })
        };
        for (text, problem) in [
            ("a = 'x'", "1:5: a: a number from 0.5 to 10 is wanted here, not a string"),
            ("a = [1, 1.0]", "1:9: a: this is in the list twice"),
            ("a = []", "1:5: a: the list is empty"),
            ("a = nan", "1:5: a: it is not a number from 0.5 to 10"),
            ("a = [[1]]", "1:6: a: a number from 0.5 to 10 is wanted here, not an array"),
            ("a = 99999999999999999999999", "1:5: a: it is not"),
        ] {
            assert!(told(text).starts_with(&format!("a.toml:{problem}")), "{text}: {}", told(text));
        }
        assert_eq!(
            unknown("key", "batch_ms", &["batch-ms", "rate"]),
            "unknown key \"batch_ms\"; did you mean \"batch-ms\"?"
        );
        assert_eq!(unknown("key", "zzz", &["ab", "cd"]), "unknown key \"zzz\"; known are ab, cd");
    }
}
