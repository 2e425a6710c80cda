//! What the checks object to. Many cases often break a rule in the same way: that is one line, with how far it goes and
//! where it is worst, and every single finding behind it.

use crate::checks::{Check, Extent, Finding, Outcome, Verdict};
use crate::figures::{fixed, percent};
use crate::schema::RunResult;

use super::loads::Loads;
use super::summary::list;

/// Cases named in a line at most; of more it tells those that are not among them, or their number.
const MOST_NAMED: usize = 4;

/// A check that does not hold for a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Objection {
    /// How bad it is.
    pub verdict: Verdict,
    /// The check's name.
    pub check: String,
    /// The case.
    pub case: String,
    /// What was found.
    pub finding: Finding,
}

impl Objection {
    /// `ws, accounting: 2 lost (0.0020 %)`.
    pub fn line(&self) -> String {
        format!("{}, {}: {}", self.case, self.check, self.finding)
    }
}

/// All objections of one check that say the same of different cases.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectionGroup {
    /// Which of all cases these are, in words; the case's name where it is only one.
    cases: String,
    /// Whether these words tell each of them.
    tells_each: bool,
    /// Every one, in the order of the cases; never empty.
    pub each: Vec<Objection>,
}

impl ObjectionGroup {
    fn of(each: Vec<Objection>, all: &[String]) -> Self {
        let (cases, tells_each) = cases(&each, all);
        Self { cases, tells_each, each }
    }

    /// How bad they are.
    pub fn verdict(&self) -> Verdict {
        self.each[0].verdict
    }

    /// The check's name.
    pub fn check(&self) -> &str {
        &self.each[0].check
    }

    /// All of them in one line.
    pub fn line(&self) -> String {
        let [first, _, ..] = self.each.as_slice() else { return self.each[0].line() };
        let (check, cases) = (&first.check, &self.cases);
        match self.ordered().as_slice() {
            [(_, least), .., (_, most)] if share(least.share) == share(most.share) => {
                format!("{check}, {cases}: {}", told(most, &share(most.share)))
            }
            [(_, least), .., (worst, most)] => {
                let from = share(least.share);
                let range = format!("{}–{}", from.trim_end_matches(" %"), share(most.share));
                format!("{check}, {cases}: {}, most in {}", told(most, &range), worst.case)
            }
            _ => format!("{check}, {cases}: {}", first.finding),
        }
    }

    /// What the line leaves out, in short, the worst first and so many at most: `sse 51 %, ws 33 %`.
    pub fn extents(&self, most: usize) -> String {
        let ordered = self.ordered();
        let all: Vec<String> = if ordered.len() > 1 {
            let with_share =
                |(one, extent): &(&Objection, &Extent)| format!("{} {}", one.case, share(extent.share));
            ordered.iter().rev().map(with_share).collect()
        } else if self.tells_each {
            return String::new();
        } else {
            self.each.iter().map(|objection| objection.case.clone()).collect()
        };
        let mut told: Vec<String> = all.iter().take(most).cloned().collect();
        if all.len() > most {
            told.push(format!("and {} more, each in result.json", all.len() - most));
        }
        told.join(", ")
    }

    /// Those whose extent is known, from the least to the worst.
    fn ordered(&self) -> Vec<(&Objection, &Extent)> {
        let mut known: Vec<(&Objection, &Extent)> =
            self.each.iter().filter_map(|one| Some((one, one.finding.extent.as_ref()?))).collect();
        known.sort_by(|left, right| left.1.share.total_cmp(&right.1.share));
        known
    }
}

/// All objections, the worst first, else in the order of the checks.
pub fn groups(result: &RunResult, loads: &Loads, checks: &[Check]) -> Vec<ObjectionGroup> {
    let names: Vec<String> = result.cases.iter().map(|case| loads.name_of(case)).collect();
    let mut groups: Vec<Vec<Objection>> = Vec::new();
    for check in checks {
        for (case, outcome) in names.iter().zip(&check.outcomes) {
            let (verdict, finding) = match outcome {
                Outcome::Holds | Outcome::NotJudged(_) => continue,
                Outcome::Suspect(finding) => (Verdict::Suspect, finding),
                Outcome::Invalid(finding) => (Verdict::Invalid, finding),
            };
            let (check, case) = (check.name.to_owned(), case.clone());
            let objection = Objection { verdict, check, case, finding: finding.clone() };
            match groups.iter_mut().find(|group| are_alike(&group[0], &objection)) {
                Some(group) => group.push(objection),
                None => groups.push(vec![objection]),
            }
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group[0].verdict));
    groups.into_iter().map(|each| ObjectionGroup::of(each, &names)).collect()
}

/// Whether two objections differ in no more than the case and how far it goes.
fn are_alike(one: &Objection, other: &Objection) -> bool {
    let kind = match (&one.finding.extent, &other.finding.extent) {
        (Some(one), Some(other)) => one.words == other.words,
        (None, None) => one.finding.text == other.finding.text,
        _ => false,
    };
    kind && one.check == other.check && one.verdict == other.verdict
}

/// Which of all cases have an objection: by name as long as they are few, or by the few that have none; and whether
/// that tells each of them.
fn cases(each: &[Objection], all: &[String]) -> (String, bool) {
    let named: Vec<String> = each.iter().map(|objection| objection.case.clone()).collect();
    let others: Vec<String> = all.iter().filter(|name| !named.contains(name)).cloned().collect();
    match (named.len(), others.len()) {
        (1, _) => (named[0].clone(), true),
        (count, 0) => (format!("all {count} cases"), true),
        (few, _) if few <= MOST_NAMED => (list(&named), true),
        (count, few) if few <= MOST_NAMED => {
            (format!("{count} of {} cases (not {})", all.len(), list(&others)), true)
        }
        (count, _) => (format!("{count} of {} cases", all.len()), false),
    }
}

/// A figure within its words: `late by 12–51 % of the measured p99`.
fn told(extent: &Extent, figure: &str) -> String {
    let (before, behind) = &extent.words;
    format!("{before} {figure} {behind}").trim_start().to_owned()
}

/// A share as a percentage: whole from 10 on.
fn share(share: f64) -> String {
    if share >= 0.0995 {
        return format!("{} %", fixed(share * 100.0, 0));
    }
    percent((share.max(0.0) * 1e9) as u64, 1_000_000_000)
}

/// How many objections there are, and of how many checks: `22 objections of 2 checks`.
pub fn count(groups: &[ObjectionGroup]) -> String {
    let all: usize = groups.iter().map(|group| group.each.len()).sum();
    let mut checks: Vec<&str> = groups.iter().map(ObjectionGroup::check).collect();
    checks.sort_unstable();
    checks.dedup();
    match (all, checks.len()) {
        (1, _) => "one check objects".to_owned(),
        (all, 1) => format!("{all} objections of one check"),
        (all, checks) if checks == all => format!("{all} objections"),
        (all, checks) => format!("{all} objections of {checks} checks"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objection(case: &str, text: &str, extent: Option<f64>) -> Objection {
        let words = || ("late by".to_owned(), "of the measured p99");
        let extent = extent.map(|share| Extent { share, words: words() });
        Objection {
            verdict: Verdict::Suspect,
            check: "generator headroom".to_owned(),
            case: case.to_owned(),
            finding: Finding { text: text.to_owned(), extent },
        }
    }

    fn group(each: Vec<Objection>, all: &[&str]) -> ObjectionGroup {
        let all: Vec<String> = all.iter().map(|name| (*name).to_owned()).collect();
        ObjectionGroup::of(each, &all)
    }

    #[test]
    fn one_line_tells_the_range_and_the_worst() {
        let three = group(
            vec![
                objection("ws", "late by 120 µs", Some(0.12)),
                objection("sse", "late by 674 µs", Some(0.514)),
                objection("wss", "late by 130 µs", Some(0.13)),
            ],
            &["ws", "sse", "wss", "tcp"],
        );
        assert_eq!(
            three.line(),
            "generator headroom, ws, sse and wss: late by 12–51 % of the measured p99, most in sse"
        );
        assert_eq!(three.extents(9), "sse 51 %, wss 13 %, ws 12 %");
        assert_eq!(three.extents(1), "sse 51 %, and 2 more, each in result.json");
    }

    #[test]
    fn one_case_is_told_as_it_was_found() {
        let one = group(vec![objection("ws", "2 lost", Some(0.12))], &["ws", "sse"]);
        assert_eq!(one.line(), "ws, generator headroom: 2 lost");
        assert_eq!(one.extents(9), "");
    }

    #[test]
    fn cases_are_named_by_whichever_are_few() {
        let named = ["a", "b", "c", "d", "e", "f"];
        let of = |with: &[&str]| {
            let each = with.iter().map(|case| objection(case, "x", None)).collect();
            group(each, &named).line()
        };
        assert_eq!(of(&named), "generator headroom, all 6 cases: x");
        assert_eq!(of(&named[..2]), "generator headroom, a and b: x");
        assert_eq!(of(&named[..5]), "generator headroom, 5 of 6 cases (not f): x");
    }
}
