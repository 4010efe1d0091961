//! What goes between a parent, its zygote and a child that is being started.
//!
//! ```text
//! parent ── Request + [channel, folder, stdio …] ──▶ zygote ── fork ──▶ child (the zygote's sibling)
//!        ◀───────────── Started + [pidfd] ────────────┘                  │
//!        ◀───────────── Started + [pidfd] ──────────────────────────────┤  on the child's channel
//!        ── Call, arguments ───────────────────────────────────────────▶│
//!        ◀───────────── reply ──────────────────────────────────────────┘
//! ```
//!
//! Both zygote and child say `Started`; the first counts. So the parent learns of every child, even if the
//! zygote is killed right after the fork; and if neither comes, the channel closes and nothing has run.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// The variable that makes the program a child before `main`: `role:socket:parent:tie`.
pub(crate) const VARIABLE: &str = "ROPEWALK_PROCESS";
/// The tie of one that ends with its parent, and of one that does not.
pub(crate) const TIED: &str = "tied";
/// See [`TIED`].
pub(crate) const KEPT: &str = "kept";

/// What a program that was started anew becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// One child.
    Child,
    /// The template that children are forked from.
    Zygote,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Child => "child",
            Self::Zygote => "zygote",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Child, Self::Zygote].into_iter().find(|role| role.name() == name)
    }
}

/// First message of a program that was started anew.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) fingerprint: Vec<u8>,
    /// Whether it can fork children for its parent; if not, why.
    pub(crate) can_fork: Result<(), String>,
}

/// A variable of the environment.
pub(crate) type Variable = (Vec<u8>, Vec<u8>);

/// How a child is to be set up. Its descriptors: the channel, the folder, then those of `stdio` that are set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) name: String,
    /// Lives on when the parent ends.
    pub(crate) kept: bool,
    /// Leads a process group of its own.
    pub(crate) group: bool,
    pub(crate) limits: Vec<(u32, u64)>,
    /// The whole environment, if it differs from that of the one that is asked.
    pub(crate) environment: Option<Vec<Variable>>,
    /// Which of stdin, stdout and stderr come along; `/dev/null` takes the place of the others.
    pub(crate) stdio: [bool; 3],
}

/// Messages on a child's channel before its reply.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum News {
    /// The child lives; its pidfd comes along.
    Started(u32),
    /// The kernel did not give a process; its error number.
    Failed(i32),
    /// The reply to the call follows.
    Reply,
}
