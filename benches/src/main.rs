//! Ropewalk next to its peers: one command, one table. `README.md` says how to read it.
//!
//! ```sh
//! cargo run --release                 # everything, some minutes
//! cargo run --release -- yield echo   # the groups whose names contain a word
//! cargo run --release -- --quick      # a quick look: two short rounds
//! cargo run --release -- --list       # the groups
//! ```

mod harness;
mod operations;
mod peers;

use std::process::ExitCode;

use harness::{Group, Scale, Table, answer, kernel, measure};

fn groups() -> Vec<&'static Group> {
    operations::ALL.iter().flat_map(|part| part.iter()).collect()
}

/// What the parent process asks its children for.
fn child(words: &[String], scale: Scale) -> ExitCode {
    match words {
        [what, group, name] if what == "--measure" => {
            let group = groups().into_iter().find(|known| known.name == group);
            let contender = group.and_then(|group| group.contenders.iter().find(|known| known.name == name));
            let (Some(group), Some(contender)) = (group, contender) else { return ExitCode::FAILURE };
            answer(group, contender, scale)
        }
        [what, name] if what == "--serve" && name == "slow" => operations::fetch::serve(),
        [what, name] if what == "--serve" => operations::echo::serve(name),
        _ => {
            eprintln!("unknown option {}; there are --quick and --list", words[0]);
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    // A process that this peer starts is this program, and ends here.
    procspawn::init();
    let mut words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let before = words.len();
    words.retain(|word| word != "--quick");
    let scale = Scale { quick: words.len() < before };
    if words.iter().any(|word| word == "--list") {
        groups().iter().for_each(|group| println!("{}", group.name));
        return ExitCode::SUCCESS;
    }
    if words.first().is_some_and(|word| word.starts_with("--")) {
        return child(&words, scale);
    }
    let wanted =
        |group: &&Group| words.is_empty() || words.iter().any(|word| group.name.contains(word.as_str()));
    let chosen: Vec<_> = groups().into_iter().filter(wanted).collect();
    if chosen.is_empty() {
        eprintln!("no group's name contains one of {words:?}; --list names them");
        return ExitCode::FAILURE;
    }
    if kernel::processors().len() < 2 {
        eprintln!("only one processor may be used: rows of two workers mean little");
    }
    let mut table = Table::default();
    table.head();
    for group in chosen {
        table.print(group, &measure(group, scale));
    }
    table.foot();
    ExitCode::SUCCESS
}
