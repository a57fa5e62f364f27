// SPDX-License-Identifier: MIT OR Apache-2.0

//! Compares what the policies and facts select now with the current binding.

use protheap_policy::name::{HeapName, Key};
use protheap_policy::policy::GpuPolicy;
use serde::{Deserialize, Serialize};

use crate::decision::{Patience, Plan, decide_gpu};
use crate::facts::{Facts, Gpu};
use crate::state::{Reason, optional_word};

/// Result of a selection that differs from the current binding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// The heap; `None` if the GPU would be unprotected.
    pub heap: Option<HeapName>,
    /// Key of the policy file that names the heap.
    pub policy: Option<Key>,
    /// Reason why the GPU would be unprotected.
    #[serde(with = "optional_word")]
    pub reason: Option<Reason>,
}

/// The bound heap, and the number of its suspend buffers if known.
#[derive(Debug, Clone, Copy)]
pub struct Current<'a> {
    /// The heap.
    pub heap: &'a HeapName,
    /// Maximum number of its suspend buffers.
    pub suspend_count: Option<u32>,
}

/// Returns what selection would bind to `gpu` now, if that differs from `current`. The size of
/// suspend buffers is not compared, because the driver determines it.
pub fn next(
    policy: Option<&GpuPolicy>,
    facts: &Facts,
    gpu: &Gpu,
    current: Option<Current<'_>>,
) -> Option<Next> {
    match decide_gpu(policy, facts, gpu, Patience::LastCall).plan {
        Plan::Try(request) | Plan::Bind(request) => {
            let is_current = current.is_some_and(|current| {
                let count = current.suspend_count.unwrap_or(request.suspend_count);
                *current.heap == request.heap && count == request.suspend_count
            });
            (!is_current && !facts.lacks_tee_of(&request.heap)).then_some(Next {
                heap: Some(request.heap),
                policy: Some(request.policy),
                reason: None,
            })
        }
        Plan::Without(reason) | Plan::Fail(reason) => {
            current.map(|_| Next { heap: None, policy: None, reason: Some(reason) })
        }
        Plan::Wait | Plan::Keep(_) => None,
    }
}
