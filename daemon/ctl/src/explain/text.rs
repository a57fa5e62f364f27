// SPDX-License-Identifier: MIT OR Apache-2.0

//! The report as text.

use std::fmt;

use protheap_core::facts::HeapModule;
use protheap_core::trace::Outcome as Considered;
use protheap_policy::name::HeapName;

use crate::devicetree::{Allocator, CarveOut};
use crate::obstacles::Obstacle;

use super::{Candidate, GpuReport, ModuleReport, ProviderReport, Report, Value};
use crate::output::{Sanitized, joined};

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show_board(f)?;
        self.show_files(f)?;
        for gpu in &self.gpus {
            writeln!(f)?;
            show_gpu(f, gpu, &self.providers, self.heaps.is_none())?;
        }
        if self.gpus.is_empty() {
            let why = if self.explains_no_gpu { "see the obstacles" } else { "nothing to bind" };
            writeln!(f, "\nno Mali CSF GPU: {why}")?;
        }
        self.show_obstacles(f)?;
        if !self.share.is_empty() {
            writeln!(f, "\nheaps that the devices of a media pipeline can use")?;
        }
        for share in &self.share {
            writeln!(
                f,
                "  {} {}: {}",
                Sanitized(share.compatible),
                Sanitized(share.usage),
                joined(share.heaps, "-")
            )?;
            writeln!(f, "             {}", Sanitized(&share.origin))?;
        }
        if !self.notes.is_empty() {
            writeln!(f, "\nnotes on the policy")?;
        }
        for note in &self.notes {
            writeln!(f, "  {}", Sanitized(&note.message))?;
            writeln!(f, "             {}; {}", Sanitized(&note.origin), Sanitized(&note.next))?;
        }
        if !self.problems.is_empty() {
            writeln!(f, "\nskipped")?;
        }
        for problem in &self.problems {
            writeln!(f, "  {}: {}", Sanitized(problem.path), Sanitized(problem.message))?;
        }
        Ok(())
    }
}

impl Report<'_> {
    fn show_board(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_blob = self.heaps.is_none();
        let model = if self.platform.model.is_empty() { "-" } else { self.platform.model };
        writeln!(f, "board      {}", Sanitized(model))?;
        let none = "-: no device tree, so only default.toml can apply";
        writeln!(f, "compatible {}", joined(self.platform.compatible, none))?;
        if let Some(heaps) = &self.heaps {
            let release = if self.kernel.release.is_empty() { "-" } else { self.kernel.release };
            let lockdown = if self.kernel.lockdown { ", locked down" } else { "" };
            writeln!(
                f,
                "kernel     {}{lockdown}, delivery: {}",
                Sanitized(release),
                self.kernel.delivery
            )?;
            writeln!(f, "TEE        {}", joined(&self.tees, "-"))?;
            writeln!(f, "heaps      {}", joined(heaps, "-"))?;
        } else {
            writeln!(f, "heaps      unknown: a device tree does not list them")?;
        }
        let provider = |provider: &ProviderReport<'_>| {
            let how = match provider.driver {
                _ if is_blob => "assumed to have a driver",
                Some(_) => "driver bound",
                None if provider.failure.is_some() => "probe failed",
                None if provider.finished => "no driver",
                None => "probe pending",
            };
            let why = provider.failure.map(|why| format!(": {}", Sanitized(why)));
            format!("{} ({how}{})", provider.device, why.unwrap_or_default())
        };
        let module = |module: &ModuleReport<'_>| {
            let state = if is_blob { "assumed to be installed" } else { state_of(module.state) };
            format!("module {} ({state})", module.name)
        };
        let all = self.providers.iter().map(provider).chain(self.modules.iter().map(module));
        let none = "-: no device-tree node of OP-TEE or of another heap provider";
        writeln!(f, "providers  {}", joined(all, none))
    }

    fn show_obstacles(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.carve_outs.is_empty() {
            writeln!(f, "\ncarve-outs from which a heap can come")?;
        }
        for CarveOut { path, bytes, compatible, no_map, allocator, .. } in &self.carve_outs {
            let bytes =
                bytes.map_or("size unknown".to_owned(), |bytes| format!("{} KiB", bytes / 1024));
            let mapped = if *no_map { "" } else { ", mapped by the kernel" };
            writeln!(f, "  {}: {bytes}{mapped} ({})", Sanitized(path), joined(compatible, "-"))?;
            if let Some(Allocator { device, compatible, .. }) = allocator {
                writeln!(
                    f,
                    "             allocator {} ({})",
                    Sanitized(device),
                    joined(compatible, "-")
                )?;
            }
        }
        if !self.obstacles.is_empty() || self.obstacles_unknown.is_some() {
            writeln!(f, "\nobstacles")?;
        }
        for Obstacle { gpu, message, next, .. } in &self.obstacles {
            let gpu = gpu.as_deref().map(|gpu| format!("{}: ", Sanitized(gpu))).unwrap_or_default();
            writeln!(f, "  {gpu}{}", Sanitized(message))?;
            if !next.is_empty() {
                writeln!(f, "             {}", Sanitized(next))?;
            }
        }
        match &self.obstacles_unknown {
            Some(why) => writeln!(f, "  more obstacles are possible: {}", Sanitized(why)),
            None => Ok(()),
        }
    }

    fn show_files(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\npolicy files, the most specific first")?;
        for file in &self.considered {
            write!(f, "  {:<9}  {}", file.outcome.as_str(), Sanitized(file.path))?;
            if !file.why.is_empty() {
                write!(f, "\n             {}", Sanitized(file.why))?;
            }
            writeln!(f)?;
        }
        if self.considered.is_empty() {
            writeln!(f, "  none: see /usr/lib/protheap/policies of the root")?;
        }
        if !self.elsewhere.is_empty() {
            writeln!(f, "\nnot for this board")?;
        }
        for file in &self.elsewhere {
            writeln!(f, "  {}\n             {}", Sanitized(file.path), Sanitized(&file.why))?;
        }
        if !self.unmatched.is_empty() {
            writeln!(f, "\ntables for GPUs that this board does not have")?;
        }
        for table in &self.unmatched {
            write!(f, "  [gpu.\"{}\"]", Sanitized(table.table))?;
            if let Some(meant) = table.meant {
                write!(f, ": did you mean {}?", Sanitized(meant))?;
            }
            writeln!(f, "\n             {}", Sanitized(&table.origin))?;
        }
        Ok(())
    }
}

fn show_gpu(
    f: &mut fmt::Formatter<'_>,
    gpu: &GpuReport<'_>,
    providers: &[ProviderReport<'_>],
    is_blob: bool,
) -> fmt::Result {
    writeln!(f, "GPU {} ({})", Sanitized(gpu.device), joined(gpu.compatible, "-"))?;
    let decision = match &gpu.decision {
        Some(heap) => heap.to_string(),
        None => format!("no heap: {}", meaning(gpu, providers, is_blob)),
    };
    writeln!(f, "  decision   {decision}")?;
    if let Some(last) = &gpu.last_run {
        let heap = last.heap.map_or("no heap", HeapName::as_str);
        let comma = if last.reason.is_empty() { "" } else { ", " };
        writeln!(f, "  last run   {}{comma}{}: {heap}", last.state, last.reason)?;
    }
    if gpu.candidates.is_empty() && gpu.values.is_empty() {
        return Ok(());
    }
    writeln!(f, "  candidates, in order of preference")?;
    for Candidate { considered, evidence, firewall, .. } in &gpu.candidates {
        let outcome = considered.outcome;
        let detail = if considered.detail.is_empty() { "" } else { ": " };
        writeln!(
            f,
            "    {}: {outcome}{detail}{}",
            considered.candidate,
            Sanitized(&considered.detail)
        )?;
        let evidence = match evidence {
            Some(evidence) => format!("name: {evidence}"),
            None => "name: no evidence".to_owned(),
        };
        let firewall = match firewall {
            Some(firewall) => format!("firewall: {firewall}"),
            None => "firewall: no evidence".to_owned(),
        };
        writeln!(f, "               {} ({evidence}, {firewall})", Sanitized(&considered.origin))?;
    }
    writeln!(f, "  values")?;
    for (name, Value { value, origin }) in &gpu.values {
        let shown = match (*name, value) {
            ("bind", serde_json::Value::String(when)) => format!("bind: {when}"),
            ("hold_us", value) => format!("hold: {} ms", value.as_u64().unwrap_or_default() / 1000),
            ("suspend_bytes", value) => {
                format!("suspend buffer size: {} KiB", value.as_u64().unwrap_or_default() / 1024)
            }
            ("suspend_count", value) => format!("suspend buffers: at most {value}"),
            ("firmware", serde_json::Value::String(image)) => format!("firmware: {image}"),
            ("firmware", _) => "firmware: the image with the largest protected section".to_owned(),
            (_, serde_json::Value::Bool(true)) => {
                "allow-unprotected: a heap that the CPU can map is bound, too".to_owned()
            }
            _ => continue,
        };
        let origin = origin.as_deref().unwrap_or("built-in default");
        writeln!(f, "    {shown}\n               {}", Sanitized(origin))?;
    }
    Ok(())
}

fn state_of(module: HeapModule) -> &'static str {
    match module {
        HeapModule::Missing => "not installed",
        HeapModule::Installed => "installed, not loaded",
        HeapModule::Coming => "being loaded",
        HeapModule::Live => "loaded",
        HeapModule::BuiltIn => "built in",
        HeapModule::Gone => "failed to initialize, or was unloaded",
    }
}

/// Returns the reason why no heap is selected, and the next step.
fn meaning(gpu: &GpuReport<'_>, providers: &[ProviderReport<'_>], is_blob: bool) -> String {
    let is_unfit = |one: &Candidate<'_>| one.considered.outcome == Considered::ConditionUnmet;
    let next = match gpu.reason {
        "disabled" => return format!("the status of its device-tree node is {:?}", gpu.status),
        "absent" => "its node is enabled, but the kernel has created no device for it",
        "waiting" if is_blob => "a device tree does not list heaps; see the candidates",
        "waiting" => "a heap can still appear; see the candidates",
        // An empty list is a deliberate setting.
        "no-policy" if gpu.heaps.is_empty() && !gpu.values.is_empty() => {
            "a policy sets `heaps = []`"
        }
        "no-policy" if gpu.heaps.is_empty() => {
            "no policy names heaps for it; create one with `protheapctl draft`"
        }
        "no-policy" => "several heaps match; name one of them in a policy of the board",
        "no-heap" if gpu.candidates.iter().any(is_unfit) => {
            "no heap is present whose conditions this machine meets; see the candidates"
        }
        "no-heap" if providers.iter().any(|one| one.failure.is_some()) => {
            "a heap provider failed to probe, and no candidate is present; see `dmesg`"
        }
        "no-heap" => "no heap provider is pending, and no candidate is present",
        "no-provider" if is_blob => {
            "no node in this device tree can provide one; the boot loader can add OP-TEE's node, \
             and OP-TEE on FF-A has none"
        }
        "no-provider" => "no device on this board can provide one",
        "no-consumer" => "nothing in this kernel can use a binding; load protheap.ko",
        "on-demand" => {
            "a heap is bound when the first protected group is created, or when a \
            client requests it"
        }
        "already-probed" => "the GPU driver was loaded without a heap, or with another one",
        "heap-dead" => "the heap refuses every allocation; check that its TEE is running",
        "heap-too-small" => {
            "the heap has no memory for the firmware buffer and one suspend buffer; enlarge it"
        }
        "heap-not-protected" => "the CPU can map the heap's memory",
        _ => "see docs/state.md",
    };
    format!("{} ({next})", gpu.reason)
}
