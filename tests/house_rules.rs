//! The rules a reader may rely on: layers point downwards, files stay short, `unsafe` stays where it is listed.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

/// Layers from the lowest; those of one row may use each other.
const LAYERS: [&[&str]; 10] = [
    &["base", "sys"],
    &["coroutine"],
    &["runtime"],
    &["sync", "queue", "channel", "time"],
    &["io"],
    &["shm"],
    &["process", "thread"],
    &["net"],
    &["monkey"],
    &["guide"],
];

/// The one file that looks upwards: it offers the runtime's `spawn` where users look for it.
const LOOKS_UP: [(&str, &str); 1] = [("coroutine/mod.rs", "runtime")];

const LONGEST: usize = 400;

/// The only files that may contain `unsafe`.
const MAY_BE_UNSAFE: &[&str] = &[
    "base/deque.rs",
    "base/list.rs",
    "base/list/block.rs",
    "base/lock.rs",
    "base/ring.rs",
    "base/ring/promise.rs",
    "channel/case.rs",
    "channel/select.rs",
    "coroutine/body.rs",
    "coroutine/lingering.rs",
    "coroutine/overflow.rs",
    "coroutine/pack.rs",
    "coroutine/stack/advice.rs",
    "coroutine/stack/arena.rs",
    "coroutine/stack/nest.rs",
    "coroutine/stack/slot.rs",
    "coroutine/strand.rs",
    "coroutine/switch/boost.rs",
    "coroutine/switch/mod.rs",
    "coroutine/switch/x86_64.rs",
    "coroutine/typed.rs",
    "runtime/ahead.rs",
    "runtime/backtrace/none.rs",
    "runtime/backtrace/x86_64.rs",
    "process/call.rs",
    "process/divert.rs",
    "process/inherited.rs",
    "process/pool/outbox.rs",
    "process/pool/ring.rs",
    "process/serve.rs",
    "monkey/between.rs",
    "monkey/by_name.rs",
    "monkey/c_lock.rs",
    "monkey/devices.rs",
    "monkey/inner.rs",
    "monkey/message_queue.rs",
    "monkey/tried_again.rs",
    "monkey/errno.rs",
    "monkey/files.rs",
    "monkey/names.rs",
    "monkey/made.rs",
    "monkey/rights.rs",
    "monkey/fortified.rs",
    "monkey/old_names.rs",
    "monkey/record_lock.rs",
    "monkey/child.rs",
    "monkey/ask.rs",
    "monkey/syscall.rs",
    "monkey/real.rs",
    "monkey/thread.rs",
    "monkey/thread_state.rs",
    "monkey/cached_name.rs",
    "monkey/file_system.rs",
    "monkey/offload.rs",
    "monkey/futex.rs",
    "monkey/futex_op.rs",
    "monkey/parker.rs",
    "monkey/wait.rs",
    "monkey/ready.rs",
    "monkey/poll.rs",
    "monkey/epoll.rs",
    "monkey/vectors.rs",
    "monkey/stream.rs",
    "monkey/slot.rs",
    "monkey/lent.rs",
    "monkey/loader.rs",
    "monkey/message.rs",
    "monkey/message_part.rs",
    "monkey/kind.rs",
    "monkey/file.rs",
    "monkey/descriptor.rs",
    "monkey/connect.rs",
    "monkey/accept.rs",
    "monkey/gate.rs",
    "monkey/hook.rs",
    "monkey/self_test.rs",
    "monkey/shared_listener.rs",
    "monkey/signal.rs",
    "monkey/spawn.rs",
    "monkey/symbols.rs",
    "monkey/time.rs",
    "monkey/turn.rs",
    "runtime/cancel.rs",
    "runtime/core.rs",
    "runtime/current.rs",
    "runtime/extra.rs",
    "runtime/inbox.rs",
    "runtime/injector.rs",
    "runtime/join.rs",
    "runtime/local.rs",
    "runtime/park.rs",
    "runtime/party.rs",
    "runtime/nursery.rs",
    "runtime/permit.rs",
    "runtime/refused.rs",
    "runtime/remote.rs",
    "runtime/sample.rs",
    "runtime/scope.rs",
    "runtime/source.rs",
    "runtime/spawn.rs",
    "runtime/start.rs",
    "runtime/started.rs",
    "runtime/task.rs",
    "runtime/timers.rs",
    "runtime/wait_list.rs",
    "runtime/wait_queue.rs",
    "runtime/told.rs",
    "runtime/who.rs",
    "runtime/fresh.rs",
    "runtime/unwinding.rs",
    "runtime/worker.rs",
    "runtime/multi_wait.rs",
    "queue/takers.rs",
    "process/queue/body.rs",
    "process/queue/body/tests.rs",
    "process/queue/get.rs",
    "process/queue/in_place.rs",
    "process/queue/put.rs",
    "process/queue/record.rs",
    "process/sync/barrier.rs",
    "process/sync/condvar.rs",
    "process/sync/event.rs",
    "process/sync/mutex.rs",
    "process/sync/semaphore.rs",
    "shm/array.rs",
    "shm/listener.rs",
    "shm/object.rs",
    "shm/pod.rs",
    "shm/region.rs",
    "thread/borrow.rs",
    "sync/deadlock.rs",
    "sync/mapped.rs",
    "sync/mutex.rs",
    "sync/once_cell.rs",
    "sync/reentrant.rs",
    "sync/rw_lock.rs",
    "sys/epoll.rs",
    "sys/futex.rs",
    "sys/image.rs",
    "sys/memory.rs",
    "sys/objects.rs",
    "sys/message.rs",
    "sys/poll.rs",
    "sys/process.rs",
    "sys/process/child.rs",
    "sys/shared.rs",
    "sys/raw.rs",
    "sys/signal.rs",
    "sys/socket.rs",
    "sys/thread.rs",
    "sys/thread_exit.rs",
    "sys/valgrind.rs",
];

/// Each source file as its path below `src` and its text.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder of the sources can be read") {
            let path = entry.expect("an entry of the sources can be read").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    assert!(found.len() > 50, "only {} source files found", found.len());
    let name = |path: &PathBuf| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The part of a line that is code.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or("")
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

fn level(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&layer))
}

/// The layers that a line names after `crate::`, in a braced group as well.
fn named_layers(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for rest in line.split("crate::").skip(1) {
        let words = rest.split(|c: char| !c.is_alphanumeric() && c != '_');
        if rest.starts_with('{') {
            found.extend(words.filter(|word| level(word).is_some()));
        } else {
            found.extend(words.take(1).filter(|word| level(word).is_some()));
        }
    }
    found
}

#[test]
fn every_layer_uses_lower_layers_only() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (name, text) in sources() {
        let Some(own) = name.split('/').next().and_then(level) else { continue };
        for (number, line) in text.lines().enumerate() {
            for used in named_layers(code(line)) {
                seen += 1;
                if level(used) > Some(own) && !LOOKS_UP.contains(&(name.as_str(), used)) {
                    wrong.push(format!("src/{name}:{}: uses {used}", number + 1));
                }
            }
        }
    }
    assert!(seen > 50, "only {seen} uses of layers seen");
    assert!(wrong.is_empty(), "upwards:\n{}", wrong.join("\n"));
}

#[test]
fn every_folder_is_a_layer() {
    for (name, _) in sources() {
        if let Some((folder, _)) = name.split_once('/') {
            assert!(level(folder).is_some(), "src/{folder} is not in LAYERS");
        }
    }
}

#[test]
fn no_file_is_too_long() {
    for (name, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= LONGEST, "src/{name} has {lines} lines; {LONGEST} are allowed: split it");
    }
}

#[test]
fn unsafe_code_stays_in_the_listed_files() {
    for (name, text) in sources() {
        // `pass!` makes a system call of its arguments: unsafe code in a macro's clothes.
        let is_unsafe = |line: &str| has_word(line, "unsafe") || line.contains("pass!(");
        let has_unsafe = text.lines().any(|line| is_unsafe(code(line)));
        if MAY_BE_UNSAFE.contains(&name.as_str()) {
            assert!(has_unsafe, "src/{name} no longer needs its place in MAY_BE_UNSAFE");
            continue;
        }
        assert!(!has_unsafe, "src/{name} contains unsafe code and is not in MAY_BE_UNSAFE");
        // A parent module cannot forbid what its children need; it has no unsafe code of its own.
        let is_parent = name.ends_with("mod.rs") || name == "lib.rs";
        assert!(
            is_parent || text.contains("#![forbid(unsafe_code)]"),
            "src/{name} does not forbid unsafe code"
        );
    }
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if !code(line).contains("unsafe {") {
                continue;
            }
            // The comment stands above the statement, which may begin some lines before the block.
            let near = &lines[at.saturating_sub(8)..=at];
            if !near.iter().any(|line| line.contains("SAFETY:")) {
                wrong.push(format!("src/{name}:{}", at + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "no SAFETY comment:\n{}", wrong.join("\n"));
}

/// The files that a text names in backticks, such as `base/ring.rs` or `tests/leaks.rs`.
fn named_files(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|word| word.ends_with(".rs") || word.ends_with(".md") || word.ends_with('/')).collect()
}

#[test]
fn every_file_that_the_design_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let design = fs::read_to_string(root.join("DESIGN.md")).expect("the design can be read");
    let named = named_files(&design);
    assert!(named.len() > 50, "only {} files are named", named.len());
    for name in named {
        let exists = root.join("src").join(name).exists() || root.join(name).exists();
        // A published package has no benches.
        assert!(exists || name.starts_with("benches/"), "DESIGN.md names {name}, which does not exist");
    }
}
