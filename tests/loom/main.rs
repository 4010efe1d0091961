//! Model checks of the shared words, on loom's atomics: `RUSTFLAGS="--cfg loom" cargo test --release --test loom`.
#![cfg(loom)]

mod between;
mod deque;
mod hand_over;
mod list;
mod mutex;
mod parker;
mod ring;
mod ticket;
