//! A library with ropewalk in it, for a program that has none.

use std::time::Duration;

use ropewalk::monkey;

/// Patches all, and hands the names of what is inactive to `take`, one after the other. How many there are.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_patch(take: extern "C" fn(*const u8, usize)) -> usize {
    let inactive = monkey::patch_all().err().map_or(Vec::new(), |error| error.inactive().to_vec());
    for name in &inactive {
        take(name.as_ptr(), name.len());
    }
    inactive.len()
}

/// How many functions there are to replace.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_symbols() -> usize {
    monkey::status().len()
}

/// Runs coroutines that sleep by std, and hands a message from one to the other. How many of the sleeps have parked.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_run() -> u64 {
    let (sender, receiver) = ropewalk::channel::bounded(1);
    let first = ropewalk::spawn(move || {
        std::thread::sleep(Duration::from_millis(1));
        sender.send(7).unwrap();
    });
    let second = ropewalk::spawn(move || receiver.recv().unwrap());
    first.join().unwrap();
    assert_eq!(second.join().unwrap(), 7);
    let joined = ropewalk::spawn(|| std::thread::spawn(|| 8).join().unwrap()).join();
    assert_eq!(joined.unwrap(), 8);
    monkey::status()
        .iter()
        .filter(|symbol| symbol.name().contains("nanosleep"))
        .map(|symbol| symbol.parks())
        .sum()
}
