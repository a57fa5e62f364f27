// SPDX-License-Identifier: MIT OR Apache-2.0

//! The meaning of states and reasons for people, and the remedy for each reason.

use protheap_core::state::{Reason, State};

/// Returns the meaning of a state.
pub(crate) fn state(state: State) -> &'static str {
    match state {
        State::Held => "the probe of the GPU driver is deferred",
        State::Waiting => {
            "the probe of the GPU driver is deferred, because a candidate heap can still appear"
        }
        State::Preparing => "the buffers are being allocated, verified and handed over",
        State::Bound => "the buffers are ready, and the GPU driver has taken none yet",
        State::InUse => "the GPU driver uses the buffers",
        State::Unprotected => "the GPU driver has no protected memory",
        State::Failed => "the GPU driver has no protected memory, which needs attention",
        State::Absent => "the GPU is not on the bus",
    }
}

/// The explanation of a reason.
#[derive(Debug)]
pub(crate) struct Explanation {
    pub(crate) meaning: &'static str,
    /// The remedy; may be empty.
    pub(crate) next: &'static str,
}

/// Returns the explanation of a reason.
pub(crate) fn reason(reason: Reason) -> Explanation {
    let (meaning, next) = match reason {
        Reason::Adopted => ("an earlier run or another program made the binding", ""),
        Reason::NoPolicy => (
            "no policy selects a heap for the GPU",
            "see `protheapctl explain`, or create a policy with `protheapctl draft`",
        ),
        Reason::NoProvider => (
            "no device on this board can provide a heap",
            "enable OP-TEE's node in the device tree, or name the vendor's device as `provider` \
             in a policy, if the board has protected memory",
        ),
        Reason::NoHeap => (
            "every heap provider has probed or has failed to probe, and none registered a \
             suitable heap",
            "compare the names in `protheapctl explain` with /dev/dma_heap; search dmesg for \
             \"failed with error\", and for OP-TEE's \"Protected memory service not available\" \
             and \"memremap attempted on ram\"",
        ),
        Reason::HeapLate => (
            "no heap appeared before the hold expired",
            "add the heap's driver to the initrd, or increase `hold` in a policy",
        ),
        Reason::NoConsumer => (
            "nothing in this kernel can use a binding",
            "load a GPU driver that takes its buffer by ioctl, or protheap.ko and a GPU driver that \
             uses it; see docs/driver.md",
        ),
        Reason::OnDemand => (
            "a heap is bound when the first protected group is created, or when a client requests \
             it",
            "set `bind = \"boot\"` in a policy to bind a heap before the GPU driver probes",
        ),
        Reason::AlreadyProbed => (
            "the GPU driver probed before a heap was bound",
            "run protheap-bind before the GPU driver is loaded",
        ),
        Reason::Withdrawn => (
            "the binding was withdrawn",
            "run `protheapctl rebind` after the GPU driver has released the binding",
        ),
        Reason::HeapDead => (
            "the heap refuses every allocation",
            "check that the TEE or the driver of the heap is still bound, and read its log",
        ),
        Reason::HeapTooSmall => (
            "the heap has no memory for the firmware buffer and one suspend buffer",
            "enlarge the carve-out; if the TEE takes its pool from CMA, increase `cma=` on the \
             kernel command line",
        ),
        Reason::HeapNotProtected => (
            "the CPU can map the heap's memory",
            "remove the name from `heaps` in the policy: the heap is ordinary memory",
        ),
        Reason::HeapsDiffer => (
            "panthor's parameter names one heap, but the GPUs need different ones",
            "name the same heap for all GPUs in a policy",
        ),
        Reason::KernelRefused => (
            "the kernel refused a step",
            "see the kernel's error in the last step of `protheapctl timeline`",
        ),
    };
    Explanation { meaning, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/state.md");

    /// Returns the section on states.
    fn section() -> &'static str {
        let section = DOCUMENT.split("\n## States\n").nth(1).unwrap();
        section.split("\n## ").next().unwrap()
    }

    #[test]
    fn document_has_exactly_the_words() {
        let states = State::ALL.iter().map(|state| state.as_str());
        let words: Vec<_> =
            states.chain(Reason::ALL.iter().map(|reason| reason.as_str())).collect();
        for word in &words {
            assert!(section().contains(&format!("`{word}`")), "{word} is not documented");
        }
        let table = section().lines().filter(|line| line.starts_with('|'));
        let cells = table.flat_map(|line| line.split('|').skip(1).take(2));
        for word in cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)) {
            assert!(words.contains(&word), "{word} is not a word of the code");
        }
    }
}
