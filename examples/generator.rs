//! A generator: a recursive walk over a tree, written as if it printed, used as an iterator.
//!
//! ```sh
//! cargo run --release --example generator
//! ```
#![forbid(unsafe_code)]

use ropewalk::coroutine::{Coroutine, Suspender};

struct Tree {
    left: Option<Box<Tree>>,
    value: u32,
    right: Option<Box<Tree>>,
}

impl Tree {
    fn of(values: std::ops::Range<u32>) -> Option<Box<Self>> {
        let value = values.start + (values.end - values.start) / 2;
        let left = (values.start < value).then(|| Self::of(values.start..value)).flatten();
        let right = (value + 1 < values.end).then(|| Self::of(value + 1..values.end)).flatten();
        (!values.is_empty()).then(|| Box::new(Self { left, value, right }))
    }

    /// Suspends deep inside the recursion: that is what the stack of its own is for.
    fn walk(&self, out: &Suspender<(), u32>) {
        self.left.iter().for_each(|left| left.walk(out));
        out.suspend(self.value);
        self.right.iter().for_each(|right| right.walk(out));
    }
}

fn main() {
    let tree = Tree::of(0..1_000);
    let values = Coroutine::<(), u32>::new(move |out, ()| tree.iter().for_each(|tree| tree.walk(out)));
    let even: Vec<u32> = values.filter(|n| n % 2 == 0).take(10).collect();
    println!("the first even values: {even:?}");
    assert_eq!(even, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]);
}
