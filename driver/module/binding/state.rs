// SPDX-License-Identifier: GPL-2.0

//! The state of a binding, and the reason for it.

/// The state that user space sees.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum State {
    /// There is no binding.
    Absent,
    /// Not committed; the GPU can probe.
    Open,
    /// Not committed; the GPU's probe is deferred.
    Held,
    /// Bound; the GPU's driver holds no buffer.
    Bound,
    /// Bound; the GPU's driver holds buffers.
    InUse,
    /// Committed to no protected memory.
    None,
    /// To be bound when the GPU's driver needs a suspend buffer.
    OnDemand,
}

impl State {
    /// Returns the stable name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Absent => "absent",
            State::Open => "open",
            State::Held => "held",
            State::Bound => "bound",
            State::InUse => "in-use",
            State::None => "none",
            State::OnDemand => "on-demand",
        }
    }
}

/// The reason for a state, where it is not obvious.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Reason {
    /// No particular reason.
    Empty,
    /// The GPU's driver had attached before the commit.
    AlreadyProbed,
    /// The GPU's driver does not attach.
    NoConsumer,
    /// The hold expired before the commit.
    HeapLate,
}

impl Reason {
    /// Returns the stable name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Reason::Empty => "",
            Reason::AlreadyProbed => "already-probed",
            Reason::NoConsumer => "no-consumer",
            Reason::HeapLate => "heap-late",
        }
    }
}

/// The GPU's driver, as a binding sees it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Driver {
    /// The GPU has no driver.
    Absent,
    /// The GPU has a driver that did not attach.
    Unattached,
    /// The GPU's driver has attached.
    Attached,
}

impl Driver {
    /// Returns the name in debugfs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Driver::Absent => "absent",
            Driver::Unattached => "not-attached",
            Driver::Attached => "attached",
        }
    }
}
