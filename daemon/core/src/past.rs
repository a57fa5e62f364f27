// SPDX-License-Identifier: MIT OR Apache-2.0

//! What an earlier program of this boot wrote into `state.json`, as far as it tells the boot's
//! story. What is bound is for the kernel to say.

use serde::Deserialize;

use crate::engine::{Monotonic, Step};
use crate::report::SCHEMA;
use protheap_policy::name::{DeviceName, HeapName, Key};

/// What was written.
#[derive(Debug, Default, Deserialize)]
pub struct Past {
    schema: u32,
    #[serde(default)]
    gpus: Vec<PastGpu>,
}

/// What was written of a GPU.
#[derive(Debug, Default, Deserialize)]
pub struct PastGpu {
    device: String,
    heap: Option<String>,
    policy: Option<String>,
    #[serde(default)]
    suspend_shortage: Option<String>,
    #[serde(default)]
    held_us: u64,
    #[serde(default)]
    timeline: Vec<PastStep>,
}

#[derive(Debug, Deserialize)]
struct PastStep {
    at_us: u64,
    step: String,
    #[serde(default)]
    detail: String,
}

impl Past {
    /// What it says of the GPU `device`; nothing if its format is another one's.
    pub fn gpu(&self, device: &DeviceName) -> Option<&PastGpu> {
        let known = self.schema == SCHEMA;
        self.gpus.iter().find(|gpu| known && gpu.device == device.as_str())
    }
}

impl PastGpu {
    /// The heap that it had, and the key of the file that named it.
    pub(crate) fn named(&self) -> Option<(HeapName, Key)> {
        let heap = HeapName::new(self.heap.as_deref()?).ok()?;
        Some((heap, Key::new(self.policy.as_deref()?).ok()?))
    }

    /// Why it had fewer suspend buffers than the policy allows.
    pub(crate) fn shortage(&self) -> Option<String> {
        self.suspend_shortage.clone()
    }

    /// How long its probe was held, in microseconds.
    pub(crate) fn held(&self) -> u64 {
        self.held_us
    }

    /// What happened until `now`.
    pub(crate) fn timeline(&self, now: Monotonic) -> impl Iterator<Item = Step> {
        let steps = self.timeline.iter().filter(move |step| step.at_us <= now.0);
        steps.map(|PastStep { at_us, step, detail }| Step {
            at: Monotonic(*at_us),
            step: step.clone().into(),
            detail: detail.clone(),
        })
    }
}
