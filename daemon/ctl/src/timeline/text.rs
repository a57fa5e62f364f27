// SPDX-License-Identifier: MIT OR Apache-2.0

//! The timeline as text.

use std::fmt;

use super::{By, Gpu, Lane, Step, Timelines, milliseconds};
use crate::output::{Sanitized, joined};

impl fmt::Display for Timelines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(written_by) = &self.written_by {
            writeln!(f, "state.json by {}", Sanitized(written_by))?;
        }
        if self.gpus.is_empty() {
            writeln!(f, "{}", self.nothing())?;
        }
        self.gpus.iter().try_for_each(|gpu| gpu.fmt(f))
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, state, reason, hold, steps, unknown } = self;
        let why = if reason.is_empty() { "" } else { ", " };
        writeln!(f, "\nGPU {device}: {state}{why}{reason}")?;
        for Step { at_us, lane, step, detail, by } in steps {
            let latest = if *by == By::Udev { "≤" } else { " " };
            let at = milliseconds(*at_us);
            write!(f, "{latest}{at:>13} ms  {:<8} {}", lane.as_str(), Sanitized(step))?;
            if !detail.is_empty() {
                write!(f, ": {}", Sanitized(detail))?;
            }
            writeln!(f, "{}", if *by == By::Udev { ": seen by udev" } else { "" })?;
        }
        if let Some(hold) = hold {
            match hold.to_us {
                Some(to) => {
                    let held = milliseconds(to.saturating_sub(hold.from_us));
                    writeln!(f, "probe held for {held} ms")?;
                }
                None => writeln!(f, "probe still held")?,
            }
        }
        if !unknown.is_empty() {
            let lanes = joined(unknown.iter().copied().map(Lane::as_str), "");
            writeln!(f, "not recorded: {lanes}")?;
        }
        Ok(())
    }
}
