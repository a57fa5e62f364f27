// SPDX-License-Identifier: GPL-2.0

//! Arguments of a commit.

/// Argument of a commit: `bind`, `none` or `demand`.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Decision {
    /// Bind the GPU to the heap.
    Bind,
    /// Leave the GPU without protected memory.
    None,
    /// Bind the GPU when its driver needs a suspend buffer.
    Demand,
}

impl Decision {
    /// Returns the decision of that name.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"bind" => Some(Decision::Bind),
            b"none" => Some(Decision::None),
            b"demand" => Some(Decision::Demand),
            _ => None,
        }
    }

    /// Returns the stable name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Decision::Bind => "bind",
            Decision::None => "none",
            Decision::Demand => "demand",
        }
    }
}
