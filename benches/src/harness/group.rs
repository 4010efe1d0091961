//! What is measured, and what is asked of it.
#![forbid(unsafe_code)]

/// How long measurements take: long enough for the table, or a quick look.
#[derive(Clone, Copy)]
pub struct Scale {
    pub quick: bool,
}

impl Scale {
    /// `full`, or `quick` if that was asked for.
    pub fn pick<T>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Nanos,
    Micros,
    Seconds,
    KiB,
    /// A number of something.
    Count,
    Percent,
    /// Something each second; more is better.
    Rate,
}

impl Unit {
    pub fn more_is_better(self) -> bool {
        self == Self::Rate
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Nanos => "ns",
            Self::Micros => "µs",
            Self::Seconds => "s",
            Self::KiB => "KiB",
            Self::Count => "",
            Self::Percent => "%",
            Self::Rate => "/s",
        }
    }
}

/// A condition for ropewalk's figure; a row may have several. What is compared with a peer is compared round by round.
pub enum Target {
    AtMost(f64),
    /// At most this many times the figure of a peer.
    Times(f64, &'static str),
    /// At most this many times the best of some peers.
    TimesBest(f64, &'static [&'static str]),
    /// At least this many times the figure of a peer.
    AtLeastTimes(f64, &'static str),
    /// At most this many times ropewalk's own figure in another group's row of the same number.
    TimesOwn(f64, &'static str),
}

/// One line of the table.
pub struct Row {
    pub title: &'static str,
    pub unit: Unit,
    pub targets: &'static [Target],
}

/// One side of a comparison.
pub struct Contender {
    pub name: &'static str,
    /// Measures once, in a process of its own: one figure for each row of the group.
    pub run: fn(Scale) -> Vec<f64>,
}

/// Rows that come out of one measurement.
pub struct Group {
    /// What the filter of the command line looks at.
    pub name: &'static str,
    /// How many processors the measuring process may use.
    pub cpus: usize,
    pub rounds: usize,
    pub rows: &'static [Row],
    /// Ropewalk first.
    pub contenders: &'static [Contender],
}
