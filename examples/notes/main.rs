//! A learner's notes on concurrency, section by section, run for real.
//!
//! ```sh
//! cargo run --release --example notes              # all sections
//! cargo run --release --example notes -- mutex     # one or some of them
//! cargo run --release --example notes -- download http://host/a.png
//! ```
#![forbid(unsafe_code)]

mod coroutine;
mod cost;
mod deadlock;
mod differences;
mod download;
mod images;
mod mutex;
mod pool;
mod process;
mod queue;
mod race;
mod show;
mod thread;

use std::process::ExitCode;

type Outcome = Result<(), Box<dyn std::error::Error>>;
type Section = (&'static str, &'static str, fn(&[String]) -> Outcome);

const SECTIONS: [Section; 11] = [
    ("thread", "1  A thread: what the system schedules by itself", thread::run),
    ("race", "2  Threads share memory, so they race for it", race::run),
    ("mutex", "3  A mutex: two states, and those who wait", mutex::run),
    ("cost", "4  What a mutex gains, and what it costs", cost::run),
    ("deadlock", "5  Deadlock: each holds what the other wants", deadlock::run),
    ("process", "6-7  Processes, and their globals", process::run),
    ("queue", "8  A queue carries data", queue::run),
    ("pool", "9  A pool caps the number of workers", pool::run),
    ("coroutine", "10  A coroutine: registers and a stack of its own", coroutine::run),
    ("download", "11  Fetching images, all at once", download::run),
    ("differences", "12  The differences, measured", differences::run),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (urls, names): (Vec<_>, Vec<_>) = arguments.into_iter().partition(|word| word.contains("://"));
    if let Some(unknown) = names.iter().find(|name| SECTIONS.iter().all(|section| section.0 != **name)) {
        let known: Vec<_> = SECTIONS.iter().map(|section| section.0).collect();
        eprintln!("there is no section '{unknown}'; there are: {}", known.join(", "));
        return ExitCode::FAILURE;
    }
    for (name, title, run) in SECTIONS {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        println!("\n── {title} {}", "─".repeat(72_usize.saturating_sub(title.chars().count())));
        if let Err(error) = run(&urls) {
            eprintln!("section '{name}': {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
