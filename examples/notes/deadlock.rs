//! Section 5: a deadlock that is found, and a program that goes on.

use std::sync::Arc;

use ropewalk::Builder;
use ropewalk::sync::{Barrier, Mutex};

use crate::Outcome;

pub(crate) fn run(_: &[String]) -> Outcome {
    println!("ada locks A and wants B; bob locks B and wants A. In Python this hangs for ever.");
    let (a, b) = (Arc::new(Mutex::new("A")), Arc::new(Mutex::new("B")));
    let both_hold_one = Arc::new(Barrier::new(2));
    let start = |name: &str, first: &Arc<Mutex<&'static str>>, second: &Arc<Mutex<&'static str>>| {
        let (first, second, meet) = (Arc::clone(first), Arc::clone(second), Arc::clone(&both_hold_one));
        Builder::new().name(name).spawn(move || {
            let one = first.lock();
            meet.wait().expect("both come");
            let two = second.lock();
            format!("got {} and {}", *one, *two)
        })
    };
    // The report below is the panic's message; the hook need not print it a second time.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let handles = [("ada", start("ada", &a, &b)?), ("bob", start("bob", &b, &a)?)];
    let results = handles.map(|(name, handle)| (name, handle.join()));
    std::panic::set_hook(hook);
    for (name, result) in results {
        match result {
            Ok(text) => println!("  {name}: {text}"),
            Err(error) => println!("  {name}: {}", error.to_string().replace('\n', "\n  ")),
        }
    }
    println!("The program goes on: A is {}, B is {}.", free(&a), free(&b));
    Ok(())
}

fn free(mutex: &Mutex<&'static str>) -> &'static str {
    if mutex.try_lock().is_some() { "free" } else { "held" }
}
