//! Each measurement is a child process of the same program, bound to its processors before its first
//! thread starts. So no peer's idle threads disturb another, a crash is an entry in the table, every round
//! has a fresh address space, and memory figures start from nothing. Contenders take turns within a
//! round: what disturbs the machine for some seconds hits all alike.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Contender, Group, Scale, kernel};

const PATIENCE: Duration = Duration::from_secs(25);
/// What the line of figures begins with.
const MARK: &str = "figures:";
/// What the line begins with that says why there are none.
const ABSENT: &str = "absent:";

/// The figures of a contender: for each row its rounds, or why there are none.
pub type Figures = Result<Vec<Vec<f64>>, String>;

/// The figures of a group, in the order of its contenders.
pub struct Results(pub Vec<Figures>);

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(libc::SIGSEGV), _) => "dies: SIGSEGV".to_owned(),
        (Some(libc::SIGABRT), _) => "dies: SIGABRT".to_owned(),
        (Some(libc::SIGKILL), _) => "dies: SIGKILL".to_owned(),
        (Some(signal), _) => format!("dies: signal {signal}"),
        // How a program of Rust ends whose main thread panics.
        (None, Some(101)) => "panics".to_owned(),
        (None, code) => format!("dies: exit {}", code.unwrap_or(-1)),
    }
}

/// Waits for a child, but not for ever.
fn wait(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(Duration::from_millis(2));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

fn measure_once(group: &Group, contender: &Contender, scale: Scale) -> Result<Vec<f64>, String> {
    let mut command = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
    command.args(["--measure", group.name, contender.name]);
    if scale.quick {
        command.arg("--quick");
    }
    // What a dying peer has to say is of no use in a table.
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    if std::env::var_os("BENCH_STDERR").is_none() {
        command.stderr(Stdio::null());
    }
    let mut child = command.spawn().map_err(|error| format!("does not start: {error}"))?;
    let status = wait(&mut child).map_err(|error| error.to_string())?;
    let Some(status) = status else { return Err(format!("hangs: {} s", PATIENCE.as_secs())) };
    let mut text = String::new();
    child.stdout.take().map(|mut out| out.read_to_string(&mut text));
    if let Some(why) = text.lines().find_map(|line| line.strip_prefix(ABSENT)) {
        return Err(why.trim().to_owned());
    }
    let line = text.lines().rev().find_map(|line| line.strip_prefix(MARK));
    let Some(line) = line.filter(|_| status.success()) else { return Err(describe(status)) };
    let figures: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    if figures.len() == group.rows.len() { Ok(figures) } else { Err("gives no figures".to_owned()) }
}

/// Measures a group: each contender once in every round.
pub fn measure(group: &Group, scale: Scale) -> Results {
    let mut results: Vec<Figures> =
        group.contenders.iter().map(|_| Ok(vec![Vec::new(); group.rows.len()])).collect();
    let rounds = scale.pick(group.rounds, group.rounds.min(2));
    for _ in 0..rounds {
        for (contender, result) in group.contenders.iter().zip(&mut results) {
            let Ok(rows) = result else { continue };
            match measure_once(group, contender, scale) {
                Ok(figures) => rows.iter_mut().zip(figures).for_each(|(row, figure)| row.push(figure)),
                Err(reason) => *result = Err(reason),
            }
        }
    }
    Results(results)
}

/// In the child: ends the process, because what is to be measured is not there.
pub fn absent(why: &str) -> ! {
    println!("{ABSENT} {why}");
    kernel::exit_now()
}

/// In the child: measures, prints, and ends the process.
pub fn answer(group: &Group, contender: &Contender, scale: Scale) -> ! {
    let processors = kernel::processors();
    kernel::pin(&processors[..group.cpus.min(processors.len())]);
    let figures = (contender.run)(scale);
    let words: Vec<String> = figures.iter().map(f64::to_string).collect();
    println!("{MARK} {}", words.join(" "));
    io::stdout().flush().expect("the parent reads");
    // A million coroutines that wait need not be unwound.
    kernel::exit_now()
}
