// SPDX-License-Identifier: MIT OR Apache-2.0

//! The report as text.

use std::fmt;

use super::{Judgement, Report};
use crate::output::{Sanitized, joined};

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "report     {}", self.written_by)?;
        write!(f, "{}", self.explain)?;
        self.show_machine(f)?;
        writeln!(f, "\nevidence")?;
        self.evidence.show_evidence(f)?;
        write!(f, "\nevidence to add to a policy\n\n{}", self.snippet)
    }
}

impl Report<'_> {
    /// Writes the facts that `protheapctl explain` does not show.
    fn show_machine(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let soc = |soc: &super::Soc| {
            let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            format!("{} revision {}", or(&soc.id), or(&soc.revision))
        };
        writeln!(f, "\nSoC        {}", joined(self.socs.iter().map(soc), "-"))?;
        writeln!(f, "\njudgement of each heap in the last run")?;
        for heap in &self.heaps {
            if heap.judgements.is_empty() {
                writeln!(f, "  {}: none", heap.name)?;
            }
            for (gpu, judgement) in &heap.judgements {
                let judgement = match judgement {
                    Judgement::Allocated { protection, exporter } => {
                        format!("allocated, protection {protection}, exporter {exporter}")
                    }
                    Judgement::TooSmall { why } => format!("too small: {why}"),
                    Judgement::Dead => "dead".to_owned(),
                };
                writeln!(f, "  {}: GPU {gpu}: {}", heap.name, Sanitized(&judgement))?;
            }
        }
        writeln!(f, "\nfirmware images of the GPU")?;
        for image in &self.images {
            let sha = image.git_sha.as_deref().unwrap_or("-");
            let kib = image.protected_bytes / 1024;
            let (name, version) = (Sanitized(&image.name), &image.version);
            writeln!(f, "  {name}: format {version}, git sha {sha}, protected {kib} KiB")?;
        }
        if self.images.is_empty() {
            writeln!(f, "  none in this root")?;
        }
        writeln!(f, "\nkernel options")?;
        match &self.options {
            None => writeln!(f, "  unknown: the configuration of the kernel was not found"),
            Some(options) => {
                options.iter().try_for_each(|(option, value)| writeln!(f, "  {option}={value}"))
            }
        }
    }
}
