// SPDX-License-Identifier: MIT OR Apache-2.0

//! The evidence as text.

use std::fmt;

use protheap_policy::evidence::EvidenceStatus;

use super::{Evidence, Heap, Report};
use crate::output::{Sanitized, joined};

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "board      {}", Sanitized(self.board.model.unwrap_or("-")))?;
        writeln!(f, "compatible {}", joined(self.board.compatible, "-"))?;
        self.show_evidence(f)
    }
}

impl Report<'_> {
    /// Writes all but the board.
    pub(crate) fn show_evidence(&self, f: &mut dyn fmt::Write) -> fmt::Result {
        for gpu in &self.gpus {
            writeln!(f, "\nGPU {} ({})", Sanitized(gpu.device), joined(gpu.compatible, "-"))?;
            writeln!(f, "  candidates {}", joined(&gpu.heaps, "-: no policy names heaps for it"))?;
        }
        if self.gpus.is_empty() {
            writeln!(f, "\nno Mali CSF GPU: no heap needs evidence")?;
        }
        for heap in &self.heaps {
            show_heap(f, heap)?;
        }
        if !self.share.is_empty() {
            writeln!(f, "\nheaps that the devices of a media pipeline can use")?;
        }
        for share in &self.share {
            let status = |name: &str| {
                let heap = self.heaps.iter().find(|heap| heap.heap == name);
                let evidence = heap.and_then(|heap| heap.evidence.as_ref());
                evidence.map_or("no evidence", |evidence| evidence.status.as_str())
            };
            let heaps =
                share.heaps.iter().map(|heap| format!("{heap} ({})", status(heap.as_str())));
            let (device, usage) = (Sanitized(share.device), Sanitized(share.usage));
            writeln!(f, "  {device} {usage}: {}", joined(heaps, "-"))?;
            writeln!(f, "             {}", Sanitized(&share.origin))?;
        }
        Ok(())
    }
}

fn show_heap(f: &mut dyn fmt::Write, heap: &Heap<'_>) -> fmt::Result {
    let present = match heap.present {
        Some(true) => "present",
        Some(false) => "absent",
        None => "a device tree does not list heaps",
    };
    writeln!(f, "\nheap {} ({present})", Sanitized(&heap.heap))?;
    if let Some(evidence) = &heap.evidence {
        for (key, value) in rows(evidence) {
            writeln!(f, "  {key:<10} {}", Sanitized(value.unwrap_or("-")))?;
        }
    }
    if heap.gaps.is_empty() {
        return Ok(());
    }
    writeln!(f, "  not shown")?;
    for gap in &heap.gaps {
        writeln!(f, "    {gap}: {}", gap.meaning())?;
    }
    Ok(())
}

/// Returns all keys with their values.
fn rows<'a>(evidence: &Evidence<'a>) -> [(&'static str, Option<&'a str>); 8] {
    let Evidence { status, source, firewall, kernel, firmware, date, observer, link } = evidence;
    [
        ("status", Some(status.as_str())),
        ("source", *source),
        ("firewall", firewall.map(EvidenceStatus::as_str)),
        ("kernel", *kernel),
        ("firmware", *firmware),
        ("date", *date),
        ("observer", *observer),
        ("link", *link),
    ]
}
