// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's current state, which takes precedence where it is readable.

use protheap_board::kernel::CONFIGFS;
use protheap_board::module::BindingState;
use protheap_board::panthor;
use protheap_board::render_node::RenderNode;
use protheap_board::root::Root;
use protheap_core::facts::{Delivery, Facts, Parameter, Protection, Section};
use protheap_core::state_file::StateFile;
use protheap_policy::name::DeviceName;

/// Exists if protheap.ko is loaded or built in.
const LOADED: &str = "sys/module/protheap";

/// Returns the mechanism that delivers a binding to the GPU driver, or the reason why it is
/// unknown.
pub(crate) fn delivery(root: &Root, facts: &Facts) -> Result<Delivery, String> {
    let kernel = &facts.kernel;
    if facts.delivery() == Delivery::Ioctl {
        return Ok(Delivery::Ioctl);
    }
    if kernel.module.is_none() && root.is_directory(CONFIGFS) {
        return Err(format!("failed to read the interface version in {}", root.shown(CONFIGFS)));
    }
    if kernel.module.is_none() && is_loaded(root) {
        return Err(format!("protheap.ko is loaded, but {} does not exist", root.shown(CONFIGFS)));
    }
    Ok(facts.delivery())
}

/// Returns whether protheap.ko is loaded, even if its configfs directory is missing.
pub(crate) fn is_loaded(root: &Root) -> bool {
    root.is_directory(LOADED)
}

/// Adds the protected sections of GPUs whose driver this user may not query, from the state file.
pub(crate) fn add_sections(file: &StateFile, facts: &mut Facts) {
    for (device, gpu) in facts.gpus.iter_mut().filter(|(_, gpu)| gpu.hides_section) {
        gpu.section = file.section(device);
    }
}

/// The kernel's state of one GPU's binding.
#[derive(Debug)]
pub(super) enum Seen {
    /// It cannot be read. The text is the reason.
    Hidden(String),
    /// No driver in this kernel takes a binding.
    NoDelivery,
    /// protheap.ko has no binding, or the GPU driver no buffer.
    None,
    /// protheap.ko has this binding.
    Binding(Binding),
    /// panthor's parameter names this heap, or will when panthor is loaded; empty if it names none.
    Parameter(String),
    /// The GPU driver has a buffer for this section. It does not know from which heap.
    Firmware(Section),
}

/// A binding of protheap.ko, with the words of its attributes.
#[derive(Debug, Default)]
pub(super) struct Binding {
    /// `None` for an unknown state.
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
    /// Reads the binding of `device`.
    pub(super) fn of(root: &Root, facts: &Facts, device: &DeviceName) -> Self {
        let kernel = &facts.kernel;
        let of_gpu = facts.gpus.get(device).map(|gpu| kernel.delivery(gpu));
        if of_gpu == Some(Delivery::Ioctl) {
            return Self::in_driver(root, device);
        }
        match delivery(root, facts) {
            Err(why) => Self::Hidden(why),
            Ok(_) if of_gpu == Some(Delivery::Module) => Self::in_module(root, device.as_str()),
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

    fn in_driver(root: &Root, device: &DeviceName) -> Self {
        if !root.is_running() {
            return Self::Hidden("the GPU driver of another machine cannot be queried".to_owned());
        }
        match RenderNode::open(root, device).and_then(|node| node.map(|n| n.query()).transpose()) {
            Ok(Some(query)) => match query.section.filter(|_| query.has_buffer) {
                Some(section) => Self::Firmware(section),
                None => Self::None,
            },
            Ok(None) => Self::None,
            Err(error) => Self::Hidden(error.to_string()),
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
        // The module accepts mappable buffers only if the policy permits it.
        let may_be_mapped = text("allow_unprotected").is_none_or(|allowed| allowed != "0");
        let protection = match Protection::of_exporter(&binding.exporter) {
            _ if binding.exporter.is_empty() => None,
            Protection::Unmappable if may_be_mapped => Some(Protection::None),
            known => Some(known),
        };
        Self::Binding(Binding { protection, ..binding })
    }
}
