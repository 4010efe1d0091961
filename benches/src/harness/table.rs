//! The one table: medians, the best round in brackets.
//!
//! Two contenders are compared round by round: the quotient is the median of the rounds' quotients. What the machine
//! does for some seconds changes both figures of a round, and their quotient little.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::{Group, Results, Row, Target, Unit};

/// The figures of some rounds, their median and the best of them.
#[derive(Clone, Copy)]
struct Summary<'a> {
    rounds: &'a [f64],
    median: f64,
    best: f64,
}

/// The one in the middle, and the best.
fn middle_and_best(rounds: &[f64], unit: Unit) -> (f64, f64) {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let median =
        if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) };
    (median, if unit.more_is_better() { sorted[sorted.len() - 1] } else { sorted[0] })
}

impl<'a> Summary<'a> {
    fn of(rounds: &'a [f64], unit: Unit) -> Self {
        let (median, best) = middle_and_best(rounds, unit);
        Self { rounds, median, best }
    }

    /// The figure of `other` in this one's terms: the median, as far as the quotient of the two says what it is.
    fn beside(&self, other: &Summary<'_>) -> f64 {
        // A zero has no quotient; the medians speak for themselves.
        if self.rounds.iter().chain(other.rounds).any(|figure| *figure == 0.0) {
            return other.median;
        }
        let quotients: Vec<f64> =
            self.rounds.iter().zip(other.rounds).map(|(own, other)| other / own).collect();
        self.median * middle_and_best(&quotients, Unit::Count).0
    }
}

fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.1 => format!("{value:.3}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => grouped(value),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Prints rows as they come, and remembers how many targets were met.
#[derive(Default)]
pub struct Table {
    /// Ropewalk's medians by group and row.
    own: HashMap<(&'static str, usize), f64>,
    met: usize,
    missed: Vec<&'static str>,
}

const TITLE: usize = 52;
const OWN: usize = 20;
const GOAL: usize = 46;

impl Table {
    pub fn head(&self) {
        println!(
            "{:TITLE$} {:>OWN$}  {:GOAL$} peers: median (times ropewalk's)",
            "operation", "ropewalk (best)", "target: met?"
        );
    }

    pub fn print(&mut self, group: &'static Group, results: &Results) {
        for (index, row) in group.rows.iter().enumerate() {
            self.print_row(group, index, row, results);
        }
    }

    fn print_row(&mut self, group: &'static Group, index: usize, row: &'static Row, results: &Results) {
        let summaries: Vec<(&str, Result<Summary<'_>, &str>)> = group
            .contenders
            .iter()
            .zip(&results.0)
            .map(|(contender, figures)| {
                let summary = figures.as_ref().map(|rows| Summary::of(&rows[index], row.unit));
                (contender.name, summary.map_err(String::as_str))
            })
            .collect();
        let (own_text, own) = match summaries[0].1 {
            Ok(own) => (format!("{} ({})", figure(own.median), figure(own.best)), Some(own)),
            Err(reason) => (reason.to_owned(), None),
        };
        if let Some(own) = own {
            self.own.insert((group.name, index), own.median);
        }
        let goals = self.judge(index, row, &summaries);
        let peers: Vec<String> = summaries[1..]
            .iter()
            .map(|(name, summary)| match (summary, own) {
                (Ok(peer), Some(own)) if own.median > 0.0 => {
                    format!("{name} {} ({:.2}×)", figure(peer.median), own.beside(peer) / own.median)
                }
                (Ok(peer), _) => format!("{name} {}", figure(peer.median)),
                (Err(reason), _) => format!("{name} {reason}"),
            })
            .collect();
        let unit = row.unit.name();
        let title = if unit.is_empty() { row.title.to_owned() } else { format!("{}, {unit}", row.title) };
        println!("{title:TITLE$} {own_text:>OWN$}  {goals:GOAL$} {}", peers.join("  "));
    }

    /// The conditions of a row in words, each with its verdict.
    fn judge(
        &mut self,
        index: usize,
        row: &'static Row,
        summaries: &[(&str, Result<Summary<'_>, &str>)],
    ) -> String {
        let median = |name: &str| {
            let (_, summary) = summaries.iter().find(|(peer, _)| *peer == name)?;
            let (own, peer) = (summaries[0].1.ok(), summary.ok()?);
            Some(own.map_or(peer.median, |own| own.beside(&peer)))
        };
        let own = summaries[0].1.ok().map(|summary| summary.median);
        let mut words = Vec::new();
        for target in row.targets {
            let (text, limit) = match target {
                Target::AtMost(limit) => (format!("≤ {}", figure(*limit)), Some(*limit)),
                Target::Times(times, peer) => {
                    (format!("≤ {times} × {peer}"), median(peer).map(|m| times * m))
                }
                Target::TimesBest(times, peers) => {
                    let best = peers.iter().filter_map(|peer| median(peer)).min_by(f64::total_cmp);
                    (format!("≤ {times} × the best"), best.map(|best| times * best))
                }
                Target::AtLeastTimes(times, peer) => {
                    (format!("≥ {times} × {peer}"), median(peer).map(|m| times * m))
                }
                Target::TimesOwn(times, other) => {
                    let limit = self.own.get(&(*other, index)).map(|m| times * m);
                    (format!("≤ {times} × {other}"), limit)
                }
            };
            let verdict = match (own, limit) {
                (Some(own), Some(limit)) if row.unit.more_is_better() => Some(own >= limit),
                (Some(own), Some(limit)) => Some(own <= limit),
                (None, _) => Some(false),
                (_, None) => None,
            };
            let verdict = match verdict {
                Some(true) => {
                    self.met += 1;
                    "yes"
                }
                Some(false) => {
                    self.missed.push(row.title);
                    "NO"
                }
                None => "not measured",
            };
            words.push(format!("{text}: {verdict}"));
        }
        words.join(", ")
    }

    pub fn foot(&self) {
        println!("\n{} targets met, {} missed", self.met, self.missed.len());
        for title in &self.missed {
            println!("  missed: {title}");
        }
    }
}
