//! Sections 6 and 7: processes. They need the process module, which is not in this version.

use crate::Outcome;

pub(crate) fn run(_: &[String]) -> Outcome {
    println!("A process is one execution of a program; this one has the number {}.", std::process::id());
    println!("Child processes, and globals that they do not share, come with the process module.");
    Ok(())
}
