//! Borrowing spawns: a slice is summed in pieces, without copies and without `Arc`.
//!
//! ```sh
//! cargo run --release --example scope_sum
//! ```
#![forbid(unsafe_code)]

fn main() {
    let numbers: Vec<u64> = (1..=1_000_000).collect();
    let sum: u64 = ropewalk::scope(|s| {
        let parts: Vec<_> =
            numbers.chunks(50_000).map(|chunk| s.spawn(move || chunk.iter().sum::<u64>())).collect();
        parts.into_iter().map(|part| part.join().expect("adding does not panic")).sum()
    });
    println!("the sum is {sum}");
    assert_eq!(sum, 500_000_500_000);
}
