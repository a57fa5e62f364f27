// SPDX-License-Identifier: MIT OR Apache-2.0

//! The meaning of states and reasons for people, and the remedy for each reason.

use protheap_core::state::{Reason, State};

/// Returns the meaning of a state.
pub(crate) fn state(state: State) -> &'static str {
    match state {
        State::Held => "its driver waits while a window is open for it",
        State::Waiting => "its driver waits, because its heap can still come",
        State::Preparing => "its buffers are being allocated, judged and handed over",
        State::Bound => "its buffers are ready, and its driver has taken none yet",
        State::InUse => "its driver has taken its buffers",
        State::Unprotected => "its driver has no protected memory",
        State::Failed => "its driver has no protected memory, which needs attention",
        State::Absent => "it is not there",
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
        Reason::Adopted => ("an earlier run, or another program, had bound it", ""),
        Reason::NoPolicy => (
            "no policy decides which heap it gets",
            "`protheapctl explain` says why, and `protheapctl draft` begins a policy",
        ),
        Reason::NoProvider => (
            "nothing on this board could bring a heap",
            "if the board has protected memory, enable OP-TEE's node in the device tree, or name \
               the vendor's device as `provider` in a policy",
        ),
        Reason::NoHeap => (
            "every provider has probed or failed to, and none registered a heap that fits",
            "compare the names that `protheapctl explain` lists with /dev/dma_heap; look in dmesg for \
               \"failed with error\", and of OP-TEE for \"Protected memory service not available\" and \
               \"memremap attempted on ram\"",
        ),
        Reason::HeapLate => (
            "its heap did not come for as long as it was held",
            "have the driver of the heap in the initrd, or raise `hold` in a policy",
        ),
        Reason::NoConsumer => (
            "nothing in this kernel would use a binding",
            "load protheap.ko, and a GPU driver that asks it: docs/driver.md",
        ),
        Reason::OnDemand => (
            "its heap is bound when the first protected group is created, or a client asks",
            "nothing: `bind = \"boot\"` in a policy binds it before its driver probes",
        ),
        Reason::AlreadyProbed => (
            "its driver had probed before a heap was bound",
            "run protheap-bind before anything loads the GPU driver",
        ),
        Reason::Withdrawn => (
            "its binding was taken away",
            "`protheapctl rebind` binds anew, once its driver has let go of it",
        ),
        Reason::HeapDead => (
            "its heap refuses any allocation",
            "look whether the TEE or the driver of the heap is still bound, and in its log",
        ),
        Reason::HeapTooSmall => (
            "its heap has no memory for the firmware buffer and one suspend buffer",
            "enlarge the carve-out; for a pool that the TEE takes from CMA, increase `cma=` on the \
               kernel command line",
        ),
        Reason::HeapNotProtected => (
            "the memory of its heap can be mapped",
            "it is ordinary memory: take the name out of `heaps` in the policy",
        ),
        Reason::HeapsDiffer => (
            "panthor's parameter names one heap, and its GPUs need different ones",
            "give all its GPUs the same heap in a policy",
        ),
        Reason::KernelRefused => (
            "the kernel refused a step",
            "`protheapctl timeline` has the kernel's words in its last step",
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
