//! Python's processes, measured by a script that prints its figures.

use std::io::ErrorKind;
use std::process::{Command, Stdio};

use crate::harness::absent;

const SCRIPT: &str = include_str!("peer.py");

/// Has Python measure an operation; ends the measurement if there is no Python.
pub fn measure(operation: &str, numbers: &[usize]) -> Vec<f64> {
    let mut command = Command::new("python3");
    command.args(["-c", SCRIPT, operation]).args(numbers.iter().map(ToString::to_string));
    let output = match command.stdin(Stdio::null()).stderr(Stdio::inherit()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => absent("not installed"),
        Err(error) => panic!("python3 does not start: {error}"),
    };
    // What a shell or a wrapper says that finds no such program.
    if output.status.code() == Some(127) {
        absent("not installed");
    }
    assert!(output.status.success(), "python3 ends with {}", output.status);
    let text = String::from_utf8(output.stdout).expect("figures are text");
    text.split_whitespace().map(|word| word.parse().expect("a figure")).collect()
}
