// SPDX-License-Identifier: MIT OR Apache-2.0

//! The stable words of docs/state.md, in words for people.

/// What a state means; a word of a newer program means nothing here.
pub(crate) fn state(word: &str) -> &'static str {
    match word {
        "held" => "its driver waits while a window is open for it",
        "waiting" => "its driver waits, because its heap can still come",
        "preparing" => "its buffers are being allocated, judged and handed over",
        "bound" => "its buffers are ready, and its driver has taken none yet",
        "in-use" => "its driver has taken its buffers",
        "unprotected" => "it goes without protected memory",
        "failed" => "it goes without protected memory, and somebody should look",
        "absent" => "it is not there",
        _ => "",
    }
}

/// A word for why a binding came to its end.
#[derive(Debug)]
pub(crate) struct Reason {
    /// The word.
    pub(crate) word: &'static str,
    pub(crate) meaning: &'static str,
    /// What to do about it; may be empty.
    pub(crate) next: &'static str,
}

const REASONS: [Reason; 14] = [
    Reason {
        word: "adopted",
        meaning: "an earlier run, or another program, had bound it",
        next: "",
    },
    Reason {
        word: "no-policy",
        meaning: "no policy decides which heap it gets",
        next: "`protheapctl explain` says why, and `protheapctl draft` begins a policy",
    },
    Reason {
        word: "no-provider",
        meaning: "nothing on this board could bring a heap",
        next: "if the board has protected memory, enable OP-TEE's node in the device tree, or name \
               the vendor's device as `provider` in a policy",
    },
    Reason {
        word: "no-heap",
        meaning: "every provider has probed or failed to, and none registered a heap that fits",
        next: "compare the names that `protheapctl explain` lists with /dev/dma_heap; look in dmesg for \
               \"failed with error\", and of OP-TEE for \"Protected memory service not available\" and \
               \"memremap attempted on ram\"",
    },
    Reason {
        word: "heap-late",
        meaning: "its heap did not come for as long as it was held",
        next: "have the driver of the heap in the initrd, or raise `hold` in a policy",
    },
    Reason {
        word: "no-consumer",
        meaning: "nothing in this kernel would use a binding",
        next: "load protheap.ko, and a GPU driver that asks it: docs/driver.md",
    },
    Reason {
        word: "on-demand",
        meaning: "its heap is bound when the first protected group is created, or a client asks",
        next: "nothing: `bind = \"boot\"` in a policy binds it before its driver probes",
    },
    Reason {
        word: "already-probed",
        meaning: "its driver had probed before a heap was bound",
        next: "run protheap-bind before anything loads the GPU driver",
    },
    Reason {
        word: "withdrawn",
        meaning: "its binding was taken away",
        next: "`protheapctl rebind` binds anew, once its driver has let go of it",
    },
    Reason {
        word: "heap-dead",
        meaning: "its heap refuses any allocation",
        next: "look whether the TEE or the driver of the heap is still bound, and in its log",
    },
    Reason {
        word: "heap-too-small",
        meaning: "its heap has no memory for the firmware buffer and one suspend buffer",
        next: "enlarge the carve-out; for a pool that the TEE takes from CMA, increase `cma=` on the \
               kernel command line",
    },
    Reason {
        word: "heap-not-protected",
        meaning: "the memory of its heap can be mapped",
        next: "it is ordinary memory: take the name out of `heaps` in the policy",
    },
    Reason {
        word: "heaps-differ",
        meaning: "panthor's parameter names one heap, and its GPUs need different ones",
        next: "give all its GPUs the same heap in a policy",
    },
    Reason {
        word: "kernel-refused",
        meaning: "the kernel refused a step",
        next: "`protheapctl timeline` has the kernel's words in its last step",
    },
];

/// What is known of a reason; a word of a newer program is none.
pub(crate) fn reason(word: &str) -> Option<&'static Reason> {
    REASONS.iter().find(|reason| reason.word == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/state.md");

    /// The words in the tables of its section on states.
    fn documented() -> Vec<&'static str> {
        let section = DOCUMENT.split("\n## States\n").nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let table = section.lines().filter(|line| line.starts_with('|'));
        let words = table.flat_map(|line| line.split('|').skip(1).take(2));
        words.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
    }

    #[test]
    fn every_word_of_the_document_has_a_meaning_here() {
        let words = documented();
        assert!(words.len() > 14, "{words:?}");
        for word in words {
            let known = !state(word).is_empty() || reason(word).is_some();
            assert!(known, "{word}");
        }
    }
}
