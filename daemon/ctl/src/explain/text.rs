// SPDX-License-Identifier: MIT OR Apache-2.0

//! The report as text.

use std::fmt;

use protheap_core::trace::Outcome as Considered;
use protheap_policy::name::HeapName;

use super::{Candidate, GpuReport, ProviderReport, Report, Value};
use crate::tame::{Tame, joined};

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show_board(f)?;
        self.show_files(f)?;
        for gpu in &self.gpus {
            writeln!(f)?;
            show_gpu(f, gpu, &self.providers, self.heaps.is_none())?;
        }
        if self.gpus.is_empty() {
            writeln!(f, "\nno Mali CSF GPU: nothing is held and nothing is bound")?;
        }
        if !self.share.is_empty() {
            writeln!(f, "\nwhat devices of a media pipeline can use")?;
        }
        for share in &self.share {
            writeln!(
                f,
                "  {} {}: {}",
                Tame(share.compatible),
                Tame(share.usage),
                joined(share.heaps, "-")
            )?;
            writeln!(f, "             {}", Tame(&share.origin))?;
        }
        if !self.problems.is_empty() {
            writeln!(f, "\nskipped")?;
        }
        for problem in &self.problems {
            writeln!(f, "  {}: {}", Tame(problem.path), Tame(problem.message))?;
        }
        Ok(())
    }
}

impl Report<'_> {
    fn show_board(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_blob = self.heaps.is_none();
        let model = if self.platform.model.is_empty() { "-" } else { self.platform.model };
        writeln!(f, "board      {}", Tame(model))?;
        let none = "-: this machine has no device tree, and only default.toml can apply";
        writeln!(f, "names      {}", joined(self.platform.compatible, none))?;
        if let Some(heaps) = &self.heaps {
            let release = if self.kernel.release.is_empty() { "-" } else { self.kernel.release };
            let lockdown = if self.kernel.lockdown { ", locked down" } else { "" };
            writeln!(
                f,
                "kernel     {}{lockdown}, takes bindings by: {}",
                Tame(release),
                self.kernel.delivery
            )?;
            writeln!(f, "TEE        {}", joined(&self.tees, "-"))?;
            writeln!(f, "heaps      {}", joined(heaps, "-"))?;
        } else {
            writeln!(f, "heaps      not in a device tree: they come with the TEE or a driver")?;
        }
        let provider = |provider: &ProviderReport<'_>| {
            let how = match provider.driver {
                _ if is_blob => "assumed to have a driver",
                Some(_) => "its driver is bound",
                None if provider.failure.is_some() => "its driver failed to probe it",
                None if provider.finished => "without a driver",
                None => "its driver can still come",
            };
            let why = provider.failure.map(|why| format!(": {}", Tame(why)));
            format!("{} ({how}{})", provider.device, why.unwrap_or_default())
        };
        let none = "-: no node of OP-TEE, or of another driver that brings heaps";
        writeln!(f, "providers  {}", joined(self.providers.iter().map(provider), none))
    }

    fn show_files(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\npolicy files, the most specific first")?;
        for file in &self.considered {
            write!(f, "  {:<9}  {}", file.outcome.as_str(), Tame(file.path))?;
            if !file.why.is_empty() {
                write!(f, "\n             {}", Tame(file.why))?;
            }
            writeln!(f)?;
        }
        if self.considered.is_empty() {
            writeln!(f, "  none: see /usr/lib/protheap/policies of the root")?;
        }
        if !self.elsewhere.is_empty() {
            writeln!(f, "\nnot for this board")?;
        }
        for stranger in &self.elsewhere {
            writeln!(f, "  {}\n             {}", Tame(stranger.path), Tame(&stranger.why))?;
        }
        if !self.unmatched.is_empty() {
            writeln!(f, "\ntables for GPUs that this board does not have")?;
        }
        for table in &self.unmatched {
            write!(f, "  [gpu.\"{}\"]", Tame(table.table))?;
            if let Some(meant) = table.meant {
                write!(f, ": did you mean {}?", Tame(meant))?;
            }
            writeln!(f, "\n             {}", Tame(&table.origin))?;
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
    writeln!(f, "GPU {} ({})", Tame(gpu.device), joined(gpu.compatible, "-"))?;
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
    writeln!(f, "  candidates, the most preferred first")?;
    for Candidate { considered, evidence, firewall, .. } in &gpu.candidates {
        let outcome = considered.outcome;
        let detail = if considered.detail.is_empty() { "" } else { ": " };
        writeln!(f, "    {}: {outcome}{detail}{}", considered.candidate, Tame(&considered.detail))?;
        let evidence = match evidence {
            Some(evidence) => format!("the name is {evidence}"),
            None => "no evidence for the name".to_owned(),
        };
        let firewall = match firewall {
            Some(firewall) => format!("a firewall is {firewall}"),
            None => "no evidence for a firewall".to_owned(),
        };
        writeln!(f, "               {} ({evidence}, {firewall})", Tame(&considered.origin))?;
    }
    writeln!(f, "  values")?;
    for (name, Value { value, origin }) in &gpu.values {
        let shown = match (*name, value) {
            ("bind", serde_json::Value::String(when)) => format!("bound at {when}"),
            ("hold_us", value) => format!("hold {} ms", value.as_u64().unwrap_or_default() / 1000),
            ("suspend_bytes", value) => {
                format!("suspend buffers of {} KiB", value.as_u64().unwrap_or_default() / 1024)
            }
            ("suspend_count", value) => format!("at most {value} suspend buffers"),
            ("firmware", serde_json::Value::String(image)) => format!("firmware {image}"),
            ("firmware", _) => "firmware: the image with the largest protected section".to_owned(),
            (_, serde_json::Value::Bool(true)) => {
                "memory that can be mapped is bound too".to_owned()
            }
            _ => continue,
        };
        let origin = origin.as_deref().unwrap_or("built in: no policy says it");
        writeln!(f, "    {shown}\n               {}", Tame(origin))?;
    }
    Ok(())
}

/// Returns the reason why no heap is selected, and the next step.
fn meaning(gpu: &GpuReport<'_>, providers: &[ProviderReport<'_>], is_blob: bool) -> String {
    let is_unfit = |one: &Candidate<'_>| one.considered.outcome == Considered::ConditionUnmet;
    let next = match gpu.reason {
        "disabled" => return format!("its node has the status {:?}", gpu.status),
        "absent" => "its node is okay, but the kernel has made no device of it",
        "waiting" if is_blob => "only the board can say which heaps there are: see the candidates",
        "waiting" => "one can still come: see the candidates",
        // An empty list is a deliberate setting.
        "no-policy" if gpu.heaps.is_empty() && !gpu.values.is_empty() => {
            "a policy gives it none, on purpose: `heaps = []`"
        }
        "no-policy" if gpu.heaps.is_empty() => {
            "no policy names heaps for it: write one, `protheapctl draft` begins it"
        }
        "no-policy" => {
            "several heaps fit, and nothing says which: name one in a policy of the board"
        }
        "no-heap" if gpu.candidates.iter().any(is_unfit) => {
            "no candidate is there whose conditions are met: see the candidates"
        }
        "no-heap" if providers.iter().any(|one| one.failure.is_some()) => {
            "the driver of a provider failed to probe it, and no candidate is there: see `dmesg`"
        }
        "no-heap" => "every provider has probed, and no candidate is there",
        "no-provider" if is_blob => {
            "no node in this device tree could bring one; a boot loader can add OP-TEE's, and on \
             FF-A it has none"
        }
        "no-provider" => "nothing on this board could bring one",
        "no-consumer" => "nothing in this kernel takes a binding: load protheap.ko",
        "on-demand" => "it is bound when the first protected group is created, or a client asks",
        "already-probed" => "its driver was loaded without one, or with another",
        "heap-dead" => "it refuses any allocation: has its TEE gone?",
        "heap-too-small" => {
            "it has no memory for the firmware buffer and one suspend buffer: enlarge its memory"
        }
        "heap-not-protected" => "its memory can be mapped",
        _ => "see docs/state.md",
    };
    format!("{} ({next})", gpu.reason)
}
