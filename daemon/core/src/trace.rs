// SPDX-License-Identifier: MIT OR Apache-2.0

//! The trace of a selection: the outcome of every candidate.

use protheap_policy::name::HeapName;
use protheap_policy::words;
use serde::{Deserialize, Serialize};

use crate::facts::{Shortage, Verdict};

/// A candidate and its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Considered {
    /// Name as written in the policy.
    pub candidate: String,
    /// Position in the policy file.
    pub origin: String,
    /// Outcome of the candidate.
    pub outcome: Outcome,
    /// Details for people; may be empty.
    pub detail: String,
}

words! {
    /// Outcome of a candidate.
    Outcome {
        /// The heap is bound.
        Bound = "bound",
        /// The heap's buffers were accepted, and it will be bound.
        Chosen = "chosen",
        /// The heap is present, and no buffers were allocated from it yet.
        Untried = "untried",
        /// The heap is not present, but can still appear.
        Awaited = "awaited",
        /// The heap is not present.
        Absent = "absent",
        /// The candidate requires another TEE, kernel or SoC.
        ConditionUnmet = "condition-unmet",
        /// Several heaps match the prefix.
        Ambiguous = "ambiguous",
        /// The heap refuses every allocation.
        Dead = "dead",
        /// The heap has too little memory for the buffers.
        TooSmall = "too-small",
        /// The CPU can map the heap's memory.
        NotProtected = "not-protected",
        /// An earlier candidate was selected or is awaited.
        NotReached = "not-reached",
    }
}

/// Returns the detail of a heap whose buffers were allocated.
pub(crate) fn allocated(exporter: &str, shortage: Option<&Shortage>) -> String {
    let shortage = shortage.map(|shortage| format!("; {shortage}"));
    format!("exporter {exporter}{}", shortage.unwrap_or_default())
}

/// Returns `trace` with [`Outcome::Bound`] for the candidate that names the bound `heap`.
pub(crate) fn bound_trace(
    mut trace: Vec<Considered>,
    heap: &HeapName,
    verdict: Option<&Verdict>,
) -> Vec<Considered> {
    let fits = |one: &Considered| {
        let prefix = one.candidate.strip_suffix('*');
        prefix.map_or(one.candidate == heap.as_str(), |prefix| heap.as_str().starts_with(prefix))
    };
    let selected = |one: &Considered| matches!(one.outcome, Outcome::Chosen | Outcome::Untried);
    let unmet = |one: &Considered| one.outcome == Outcome::ConditionUnmet;
    // Several candidates can name the same heap under different conditions.
    let at = trace.iter().position(|one| fits(one) && selected(one));
    let at = at.or_else(|| trace.iter().position(|one| fits(one) && !unmet(one)));
    if let Some(considered) = at.and_then(|at| trace.get_mut(at)) {
        considered.outcome = Outcome::Bound;
        if let Some(Verdict::Allocated { exporter, shortage, .. }) = verdict {
            considered.detail = allocated(exporter, shortage.as_ref());
        }
    }
    trace
}
