// SPDX-License-Identifier: MIT OR Apache-2.0

//! The states of a binding and the reasons for its ends. The words are stable: files and D-Bus
//! show them.

use protheap_policy::words;

words! {
    /// How far the binding of a GPU has come.
    State {
        /// There is no such GPU on the bus.
        Absent = "absent",
        /// A window is being opened: its driver will have to wait.
        Held = "held",
        /// Its heap can still come.
        Waiting = "waiting",
        /// Buffers are being allocated, judged and handed over.
        Preparing = "preparing",
        /// The kernel has the binding.
        Bound = "bound",
        /// The GPU driver has taken buffers.
        InUse = "in-use",
        /// An end: the GPU goes without protected memory, and that is as it should be.
        Unprotected = "unprotected",
        /// An end: the GPU goes without protected memory, and somebody should look.
        Failed = "failed",
    }
}

impl State {
    /// Returns whether a heap is bound.
    pub fn is_bound(self) -> bool {
        matches!(self, Self::Bound | Self::InUse)
    }

    /// Returns whether the binding is pending: without a fault, it comes to an end by itself.
    pub fn is_pending(self) -> bool {
        matches!(self, Self::Held | Self::Waiting | Self::Preparing)
    }

    /// Nothing more happens by itself.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Bound | Self::InUse | Self::Unprotected | Self::Failed)
    }
}

words! {
    /// Why a binding came to its end.
    Reason {
        /// No policy names a heap for the GPU, or none decides between those that are there.
        NoPolicy = "no-policy",
        /// Everything that could have brought a heap has settled, and none that fits came.
        NoHeap = "no-heap",
        /// Nothing on this board could bring a heap.
        NoProvider = "no-provider",
        /// The ceiling was reached before the heap came.
        HeapLate = "heap-late",
        /// Nothing in this kernel would use the binding.
        NoConsumer = "no-consumer",
        /// The heap is bound when the first protected group is created, or a client asks.
        OnDemand = "on-demand",
        /// The GPU driver had probed before, and there is nothing to bind yet.
        AlreadyProbed = "already-probed",
        /// The heap refuses any allocation.
        HeapDead = "heap-dead",
        /// The heap has no memory for the firmware buffer and one suspend buffer.
        HeapTooSmall = "heap-too-small",
        /// The heap's memory can be mapped.
        HeapNotProtected = "heap-not-protected",
        /// GPUs of one driver need different heaps, and its parameter names one.
        HeapsDiffer = "heaps-differ",
        /// The kernel refused a step of the binding.
        KernelRefused = "kernel-refused",
        /// The binding was made by an earlier run.
        Adopted = "adopted",
        /// Somebody took the binding away.
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
