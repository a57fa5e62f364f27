// SPDX-License-Identifier: MIT OR Apache-2.0

//! Agreement of the GPUs of a driver that takes its heap from a parameter.
//!
//! The parameter is one for all GPUs of the driver, so it is set after every GPU has selected a
//! heap or its attempt has ended, and only if all selected the same.

use super::attempt::Attempt;
use super::binding::Binding;
use crate::state::State;

/// Returns `None` while an attempt can still change its heap. Else returns whether the heaps of the
/// GPUs that agree or are bound differ. Each attempt is `None` if it has ended and nothing else is
/// pending for the GPU.
pub(super) fn heaps_differ<'a>(
    gpus: impl Iterator<Item = (Option<&'a Attempt>, &'a Binding)>,
) -> Option<bool> {
    let mut first = None;
    let mut differ = false;
    for (attempt, binding) in gpus {
        let is_agreeing = match attempt {
            Some(attempt) if attempt.is_agreeing() => true,
            Some(attempt) if !attempt.has_ended() => return None,
            _ => false,
        };
        if is_agreeing || binding.state() == State::Bound {
            let heap = binding.heap();
            differ |= heap.is_some() && first.is_some() && heap != first;
            first = first.or(heap);
        }
    }
    Some(differ)
}
