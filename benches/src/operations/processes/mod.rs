//! Processes: their start, a pool of them, and what goes between them; next to Python's `multiprocessing` and
//! `concurrent.futures`, procspawn, ipc-channel, and the kernel's pipes.

mod idle;
mod pool;
mod python;
mod queue;
mod raw;
mod start;

use crate::harness::Group;

pub static GROUPS: [&[Group]; 4] = [start::GROUPS, pool::GROUPS, queue::GROUPS, idle::GROUPS];
