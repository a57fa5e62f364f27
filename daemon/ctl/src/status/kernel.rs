// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the kernel has now: the truth, where it can be read.

use protheap_board::kernel::CONFIGFS;
use protheap_board::module::BindingState;
use protheap_board::panthor;
use protheap_board::root::Root;
use protheap_core::facts::{Kernel, Parameter, Protection};

/// There if protheap.ko is loaded, or built in.
const LOADED: &str = "sys/module/protheap";

/// How a binding reaches a GPU's driver; `Err`: why that cannot be told.
pub(super) fn delivery(root: &Root, kernel: &Kernel) -> Result<&'static str, String> {
    if kernel.module.is_none() && root.is_directory(CONFIGFS) {
        return Err(format!("what {} says of its version is not understood", root.shown(CONFIGFS)));
    }
    if kernel.module.is_none() && is_loaded(root) {
        return Err(format!("protheap.ko is loaded, and {} is not there", root.shown(CONFIGFS)));
    }
    Ok(kernel.delivery())
}

/// protheap.ko is loaded, whether its files are there or not.
pub(crate) fn is_loaded(root: &Root) -> bool {
    root.is_directory(LOADED)
}

/// What the kernel shows of one GPU's binding.
#[derive(Debug)]
pub(super) enum Seen {
    /// That cannot be read, for this reason.
    Hidden(String),
    /// Nothing in this kernel takes a binding.
    NoDelivery,
    /// protheap.ko has none.
    None,
    /// protheap.ko has this one.
    Binding(Binding),
    /// panthor was told this heap, or will be when it is loaded; empty if it was told none.
    Parameter(String),
}

/// A binding of protheap.ko, in its words.
#[derive(Debug, Default)]
pub(super) struct Binding {
    /// `None` for a state that is not known here.
    pub(super) state: Option<BindingState>,
    pub(super) reason: String,
    pub(super) heap: String,
    pub(super) origin: String,
    pub(super) exporter: String,
    pub(super) protection: Option<Protection>,
    pub(super) firmware_bytes: Option<u64>,
    pub(super) suspend_bytes: Option<u64>,
    pub(super) suspend_count: Option<u32>,
    pub(super) suspend_free: Option<u32>,
    pub(super) suspend_in_use: Option<u32>,
}

impl Seen {
    /// Looks at the binding of `device`.
    pub(super) fn of(root: &Root, kernel: &Kernel, device: &str) -> Self {
        match delivery(root, kernel) {
            Err(why) => Self::Hidden(why),
            Ok("module") => Self::in_module(root, device),
            Ok(_) => match &kernel.parameter {
                None => Self::NoDelivery,
                Some(Parameter::Set(heap)) => Self::Parameter(heap.clone()),
                Some(Parameter::Open) => {
                    let mut problems = Vec::new();
                    let named = panthor::named_heap(root, &mut problems);
                    match problems.first() {
                        Some(problem) => Self::Hidden(problem.to_string()),
                        None => Self::Parameter(named.unwrap_or_default()),
                    }
                }
            },
        }
    }

    fn in_module(root: &Root, device: &str) -> Self {
        let mut problems = Vec::new();
        let mut text =
            |name: &str| root.text(&format!("{CONFIGFS}/{device}/{name}"), &mut problems);
        let Some(state) = text("state") else {
            return match problems.first() {
                Some(problem) => Self::Hidden(problem.to_string()),
                None => Self::None,
            };
        };
        let binding = Binding {
            state: BindingState::parse(&state),
            reason: text("reason").unwrap_or_default(),
            heap: text("heap").unwrap_or_default(),
            origin: text("origin").unwrap_or_default(),
            exporter: text("exporter").unwrap_or_default(),
            protection: None,
            firmware_bytes: text("firmware_bytes").and_then(|text| text.parse().ok()),
            suspend_bytes: text("suspend_bytes").and_then(|text| text.parse().ok()),
            suspend_count: text("suspend_count").and_then(|text| text.parse().ok()),
            suspend_free: text("suspend_free").and_then(|text| text.parse().ok()),
            suspend_in_use: text("suspend_in_use").and_then(|text| text.parse().ok()),
        };
        // Buffers that can be mapped are taken only where the policy says so.
        let may_be_mapped = text("allow_unprotected").is_none_or(|allowed| allowed != "0");
        let protection = match Protection::of_exporter(&binding.exporter) {
            _ if binding.exporter.is_empty() => None,
            Protection::Unmappable if may_be_mapped => Some(Protection::None),
            known => Some(known),
        };
        Self::Binding(Binding { protection, ..binding })
    }
}
