//! The frame of a report page: head, verdict, sentences, sections, the script at its end.
//!
//! A further kind of page is made of the same parts, and then gets the same look, dark mode, print, phone and script:
//!
//! ```ignore
//! let mut page = Page::begin("gate: pass");
//! page.header(&Header { over: "lastmile gate", moment: "", heading: "…", load: "…" });
//! page.verdict(Verdict::Valid, "PASS", "no metric regressed", Vec::new());
//! page.end_of_header();
//! page.sentences(&view.sentences);
//! page.section("metrics", "Metrics", "", &figure(&forest::render(&view.forest), "…", None));
//! page.section("pairs", "Pairs", "", &tables::table(&view.pairs));
//! page.finish(None)
//! ```
//!
//! Contents of sections come from [`super::tables`], [`super::forest`], [`super::ranges`], or any [`super::plot::Plot`]
//! inside a [`super::figure::figure`]. Whatever text they take is escaped by them; strings named `content` are HTML.

use std::fmt::Write;

use crate::checks::Verdict;

use super::embed;
use super::escape::Text;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// What stands at the top of a page.
#[derive(Debug, Clone, Copy, Default)]
pub struct Header<'a> {
    /// Above the heading, small: what made the page.
    pub over: &'a str,
    /// Beside it: when.
    pub moment: &'a str,
    /// What the page is about.
    pub heading: &'a str,
    /// Below it: under which conditions.
    pub load: &'a str,
}

/// A line below the verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remark {
    /// The line.
    pub text: String,
    /// What it sums up, each by itself, folded behind it.
    pub each: Vec<String>,
}

impl From<&String> for Remark {
    fn from(text: &String) -> Self {
        Self { text: text.clone(), each: Vec::new() }
    }
}

/// A page being written.
#[derive(Debug)]
pub struct Page {
    /// Up to where the table of contents stands.
    head: String,
    body: String,
    /// Id and heading of each section.
    sections: Vec<(String, String)>,
}

impl Page {
    /// Opens a page with a title for the browser's tab.
    pub fn begin(title: &str) -> Self {
        // Nothing may be loaded from anywhere: the file opens from a mail, and says the same on every machine. And no
        // script but ours may run, should text of a result ever get past the escaping.
        let policy = format!(
            "default-src 'none'; style-src 'unsafe-inline'; script-src '{}'; img-src data:; base-uri 'none'; form-action 'none'",
            embed::script_hash(SCRIPT)
        );
        let head = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\">\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\
             <meta name=\"generator\" content=\"lastmile {version}\">\
             <title>{title}</title><style>{STYLE}</style></head><body><main>",
            version = env!("CARGO_PKG_VERSION"),
            title = Text(title),
        );
        Self { head, body: String::with_capacity(256 * 1024), sections: Vec::new() }
    }

    /// Opens the header; [`Page::end_of_header`] closes it.
    pub fn header(&mut self, header: &Header<'_>) {
        let _ = write!(
            self.head,
            "<header><p class=\"over\">{} <span>{}</span></p><h1>{}</h1><p class=\"load\">{}</p>",
            Text(header.over),
            Text(header.moment),
            Text(header.heading),
            Text(header.load)
        );
    }

    /// Whether to believe the page: a word, why, and what objects. The verdict decides the colour.
    pub fn verdict(&mut self, verdict: Verdict, word: &str, reason: &str, objections: Vec<Remark>) {
        let class = verdict_class(verdict);
        let _ = write!(
            self.head,
            "<section class=\"verdict {class}\" aria-label=\"Verdict\"><p><strong>{}</strong> {}</p>",
            Text(word),
            Text(reason)
        );
        if !objections.is_empty() {
            self.head.push_str("<ul>");
            for Remark { text, each } in objections {
                let _ = write!(self.head, "<li>{}", Text(&text));
                if !each.is_empty() {
                    let _ = write!(self.head, "<details><summary>each of the {}</summary>", each.len());
                    list(&mut self.head, &each);
                    self.head.push_str("</details>");
                }
                self.head.push_str("</li>");
            }
            self.head.push_str("</ul>");
        }
        self.head.push_str("</section>");
    }

    /// What the page says, in plain sentences; behind the header.
    pub fn sentences(&mut self, sentences: &[String]) {
        self.head.push_str(&summary(sentences));
    }

    /// Closes the header; the table of contents follows.
    pub fn end_of_header(&mut self) {
        self.head.push_str("</header>");
    }

    /// A section. `aside` stands small beside the heading; `content` is HTML. The id must be unique and plain.
    pub fn section(&mut self, id: &str, heading: &str, aside: &str, content: &str) {
        self.sections.push((id.to_owned(), heading.to_owned()));
        self.body.push_str(&section(id, heading, aside, content));
    }

    /// HTML between sections. What shall stand in the table of contents is named: id and heading.
    pub fn between(&mut self, entry: Option<(&str, &str)>, content: &str) {
        self.sections.extend(entry.map(|(id, heading)| (id.to_owned(), heading.to_owned())));
        self.body.push_str(content);
    }

    /// The finished page, with a result as `embed::packed` gives it for the buttons that save it.
    pub fn finish(self, packed_result: Option<&str>) -> String {
        let mut html = self.head;
        if self.sections.len() > 2 {
            html.push_str("<nav aria-label=\"Sections\"><ul>");
            for (id, heading) in &self.sections {
                let _ = write!(html, "<li><a href=\"#{id}\">{}</a></li>", Text(heading));
            }
            html.push_str("</ul></nav>");
        }
        html.push_str(&self.body);
        html.push_str("</main>");
        if let Some(packed) = packed_result {
            let _ = write!(html, "<script type=\"text/plain\" id=\"result\">{packed}</script>");
        }
        let _ = writeln!(html, "<script>{SCRIPT}</script></body></html>");
        html
    }
}

/// A section by itself, for within another.
pub fn section(id: &str, heading: &str, aside: &str, content: &str) -> String {
    let aside = if aside.is_empty() { String::new() } else { format!(" <small>{}</small>", Text(aside)) };
    format!("<section id=\"{id}\"><h2>{}{aside}</h2>{content}</section>", Text(heading))
}

/// Sentences as paragraphs; nothing for none.
pub fn summary(sentences: &[String]) -> String {
    if sentences.is_empty() {
        return String::new();
    }
    let mut html = "<div class=\"summary\">".to_owned();
    for sentence in sentences {
        let _ = write!(html, "<p>{}</p>", unbroken_names(sentence));
    }
    html.push_str("</div>");
    html
}

/// A list of plain texts; nothing for none.
pub fn list(html: &mut String, items: &[String]) {
    if items.is_empty() {
        return;
    }
    html.push_str("<ul>");
    for item in items {
        let _ = write!(html, "<li>{}</li>", Text(item));
    }
    html.push_str("</ul>");
}

/// A command or anything else that is copied as a whole; the script adds the button.
pub fn copyable(what: &str, text: &str) -> String {
    format!("<pre tabindex=\"0\" data-copy=\"{}\"><code>{}</code></pre>", Text(what), Text(text))
}

/// A sentence in which no line ends within a name such as wt-stream, or between a figure and its unit.
fn unbroken_names(sentence: &str) -> String {
    const UNITS: [&str; 8] = ["µs", "ms", "s", "%", "×", "B", "kB", "MB"];
    let mut html = String::with_capacity(sentence.len() + 32);
    let mut before = "";
    for word in sentence.split(' ') {
        let bare = word.trim_end_matches([')', ',', ';', '.', ':']);
        if !before.is_empty() {
            let is_unit = UNITS.contains(&bare) && before.ends_with(|last: char| last.is_ascii_digit());
            html.push_str(if is_unit { "&nbsp;" } else { " " });
        }
        let _ = if bare.contains(['-', '–']) {
            write!(html, "<span>{}</span>", Text(word))
        } else {
            write!(html, "{}", Text(word))
        };
        before = word;
    }
    html
}

/// The class that colours a verdict.
pub fn verdict_class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Valid => "valid",
        Verdict::Suspect => "suspect",
        Verdict::Invalid => "invalid",
    }
}
