// SPDX-License-Identifier: MIT OR Apache-2.0

//! States of a binding, and reasons for them. The words are stable: files and D-Bus show them.

use protheap_policy::words;

words! {
    /// State of a GPU's binding.
    State {
        /// The GPU is not on the bus.
        Absent = "absent",
        /// The binder is starting a hold, which defers the GPU's probe.
        Held = "held",
        /// The GPU waits for a heap that can still appear.
        Waiting = "waiting",
        /// Buffers are being allocated, classified and handed over.
        Preparing = "preparing",
        /// The binding is committed in the kernel.
        Bound = "bound",
        /// The GPU driver has taken buffers.
        InUse = "in-use",
        /// End: the GPU is unprotected as configured.
        Unprotected = "unprotected",
        /// End: the GPU is unprotected because of an error that needs attention.
        Failed = "failed",
    }
}

impl State {
    /// Returns whether a heap is bound.
    pub fn is_bound(self) -> bool {
        matches!(self, Self::Bound | Self::InUse)
    }

    /// Returns whether the binding is pending. A pending binding reaches an end by itself.
    pub fn is_pending(self) -> bool {
        matches!(self, Self::Held | Self::Waiting | Self::Preparing)
    }

    /// Returns whether the state is an end, which only an event can change.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Bound | Self::InUse | Self::Unprotected | Self::Failed)
    }

    /// Returns whether `next` can follow `self`. A GPU can leave the bus in every state.
    pub fn precedes(self, next: Self) -> bool {
        next == Self::Absent || TRANSITIONS.iter().any(|&(from, to, _)| (from, to) == (self, next))
    }
}

/// Transitions between states, each with its causes, except for those to [`State::Absent`].
///
/// Transitions from pending states belong to an attempt to bind a GPU, the others to the daemon's
/// upkeep. `docs/design.md` has a diagram of each part, generated from this table.
pub const TRANSITIONS: &[(State, State, &str)] = {
    use State::{Absent, Bound, Failed, Held, InUse, Preparing, Unprotected, Waiting};
    &[
        (Absent, Held, "the GPU is on the bus"),
        (Held, Waiting, "a candidate can still appear"),
        (Held, Preparing, "a heap is selected"),
        (Held, Bound, "adopted from an earlier run"),
        (Held, InUse, "adopted, the driver uses buffers"),
        (Held, Unprotected, "no heap to bind, or on demand"),
        (Held, Failed, "no heap passes, or the kernel refuses"),
        (Waiting, Preparing, "a heap is selected, at the latest before the hold expires"),
        (Waiting, Bound, "panthor was loaded with the heap's name"),
        (Waiting, Unprotected, "no candidate can appear, or the hold expired"),
        (Waiting, Failed, "no heap passes"),
        (Preparing, Waiting, "the heap is rejected, another one can appear"),
        (Preparing, Bound, "committed"),
        (Preparing, Unprotected, "the heap is no candidate any more"),
        (Preparing, Failed, "no heap passes, or the kernel refuses"),
        (Bound, InUse, "the driver takes a buffer"),
        (Bound, Preparing, "rebind, or a preferred heap"),
        (Bound, Unprotected, "withdrawn, or idle on demand"),
        (Bound, Failed, "the TEE is gone"),
        (InUse, Bound, "the driver releases its last buffer"),
        (InUse, Unprotected, "withdrawn, or idle on demand"),
        (InUse, Failed, "the TEE is gone"),
        (Unprotected, Waiting, "new facts, during the hold of a binder that died"),
        (Unprotected, Preparing, "new facts or policies, or a demand"),
        (Unprotected, Bound, "another program binds"),
        (Unprotected, InUse, "another program binds, the driver takes a buffer"),
        (Unprotected, Failed, "new facts, and no heap passes"),
        (Failed, Waiting, "new facts, during the hold of a binder that died"),
        (Failed, Preparing, "new facts or policies, or a rebind"),
        (Failed, Bound, "another program binds"),
        (Failed, InUse, "another program binds, the driver takes a buffer"),
        (Failed, Unprotected, "no heap to bind any more"),
    ]
};

words! {
    /// Reason for the state of a binding.
    Reason {
        /// No policy names a heap for the GPU, or its prefix matches several heaps.
        NoPolicy = "no-policy",
        /// Every provider has probed or has failed to, and no candidate heap appeared.
        NoHeap = "no-heap",
        /// No device on this board can provide a heap.
        NoProvider = "no-provider",
        /// The hold expired before a heap appeared.
        HeapLate = "heap-late",
        /// No driver in this kernel uses a binding.
        NoConsumer = "no-consumer",
        /// The heap is bound when the first protected group is created, or a client requests it.
        OnDemand = "on-demand",
        /// The GPU driver probed before any heap was available.
        AlreadyProbed = "already-probed",
        /// The heap refuses every allocation.
        HeapDead = "heap-dead",
        /// The heap has no memory for the firmware buffer and one suspend buffer.
        HeapTooSmall = "heap-too-small",
        /// The CPU can map the heap's memory.
        HeapNotProtected = "heap-not-protected",
        /// GPUs of one driver need different heaps, but its parameter names one.
        HeapsDiffer = "heaps-differ",
        /// The kernel refused a step of the binding.
        KernelRefused = "kernel-refused",
        /// An earlier run made the binding.
        Adopted = "adopted",
        /// The binding was withdrawn.
        Withdrawn = "withdrawn",
    }
}

/// Serializes an optional word as text, which is empty for `None`: `#[serde(with = "...")]`.
pub(crate) mod optional_word {
    use std::borrow::Cow;
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    #[allow(clippy::ref_option, reason = "serde passes a reference to the member")]
    pub(crate) fn serialize<T: Display, S: Serializer>(
        word: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match word {
            Some(word) => serializer.collect_str(word),
            None => serializer.serialize_str(""),
        }
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let word = Cow::<str>::deserialize(deserializer)?;
        let parse = |word: &str| word.parse().map_err(D::Error::custom);
        if word.is_empty() { Ok(None) } else { parse(&word).map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_of_a_present_gpu_is_either_pending_or_an_end() {
        use State::{Absent, Bound, Failed, Held, InUse, Preparing, Unprotected, Waiting};
        for pending in [Held, Waiting, Preparing] {
            assert!(pending.is_pending() && !pending.is_end(), "{pending}");
        }
        for end in [Bound, InUse, Unprotected, Failed] {
            assert!(end.is_end() && !end.is_pending(), "{end}");
        }
        assert!(!Absent.is_end() && !Absent.is_pending());
    }

    #[test]
    fn only_transitions_of_the_table_and_those_to_absent_are_possible() {
        for &from in State::ALL {
            assert!(from.precedes(State::Absent), "{from}");
            for &to in State::ALL.iter().filter(|to| **to != State::Absent) {
                let listed = TRANSITIONS.iter().filter(|(a, b, _)| (*a, *b) == (from, to)).count();
                assert_eq!(usize::from(from.precedes(to)), listed, "{from} {to}");
            }
        }
        assert!(State::Held.precedes(State::Waiting));
        assert!(!State::Waiting.precedes(State::Held));
    }
}
