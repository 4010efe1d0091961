//! What is measured: one file for each operation, or for operations that are variations of one.

mod crowd;
pub mod echo;
pub mod fetch;
mod idle;
mod mutex;
mod parked;
mod ping_pong;
mod processes;
mod reads;
mod skynet;
mod sleepers;
mod spawn;
mod stream;
mod switch;
mod timer;
mod yields;

use crate::harness::Group;

/// In the order of the table.
pub static ALL: &[&[Group]] = &[
    switch::GROUPS,
    yields::GROUPS,
    spawn::GROUPS,
    skynet::GROUPS,
    ping_pong::GROUPS,
    stream::GROUPS,
    mutex::GROUPS,
    crowd::GROUPS,
    parked::GROUPS,
    timer::GROUPS,
    sleepers::GROUPS,
    echo::GROUPS,
    fetch::GROUPS,
    reads::GROUPS,
    idle::GROUPS,
    processes::GROUPS[0],
    processes::GROUPS[1],
    processes::GROUPS[2],
    processes::GROUPS[3],
];
