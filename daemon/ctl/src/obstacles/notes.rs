// SPDX-License-Identifier: MIT OR Apache-2.0

//! Statements of the policies that have no effect on this machine.

use protheap_core::notes::notes;

use super::{Found, Obstacle, Situation, is_without};

/// Adds what has no effect in local policies, and in all policies of a GPU without a heap. A plan
/// lists these statements elsewhere.
pub(super) fn find(at: &Situation<'_>, found: &mut Found) {
    if at.is_plan {
        return;
    }
    for note in notes(&at.machine.policy, &at.machine.facts) {
        let mut gpus = at.gpus.iter().filter(|gpu| gpu.device == note.gpu.as_str());
        if note.local || gpus.any(is_without) {
            found.push(Obstacle {
                what: note.what.as_str(),
                gpu: Some(note.gpu.to_string()),
                message: format!("{}: {}", note.origin, note.message),
                next: note.next,
            });
        }
    }
}
