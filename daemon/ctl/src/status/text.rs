// SPDX-License-Identifier: MIT OR Apache-2.0

//! The status as text.

use std::fmt::Write as _;

use super::gpu::{From, Status, firewall, protection};
use super::{Report, Writer};
use crate::bus::DAEMON;
use crate::obstacles::Obstacle;
use crate::output::{Sanitized, joined};
use crate::paint::{Paint, Tone};
use crate::tree::Tree;
use crate::words;
use protheap_core::facts::Delivery;
use protheap_core::state::State;

impl Report {
    /// Formats the report as a tree.
    pub(super) fn text(&self, paint: Paint) -> String {
        let names = joined(&self.board.compatible, "no device tree");
        let mut tree = match &self.board.model {
            Some(model) => Tree::new(format!("{} ({names})", Sanitized(model))),
            None => Tree::new(names),
        };
        let release = self.kernel.as_deref().unwrap_or("unknown");
        let delivery = match self.delivery {
            Some(Delivery::Ioctl) => "the GPU driver takes the firmware buffer by ioctl".to_owned(),
            Some(Delivery::Module) => "bindings are delivered by protheap.ko".to_owned(),
            Some(Delivery::PanthorParameter) => {
                "bindings are delivered by panthor's parameter".to_owned()
            }
            Some(Delivery::None) => "nothing can use a binding".to_owned(),
            None => format!("delivery unknown: {}", self.why("/delivery")),
        };
        tree.line(format!("kernel {}: {delivery}", Sanitized(release)));
        tree.line(self.writer());
        tree.line(match &self.policies {
            Some(keys) => format!("policies {}", joined(keys, "none")),
            None => format!("policies unknown: {}", self.why("/policies")),
        });
        for (number, gpu) in self.gpus.iter().enumerate() {
            tree.branch(self.gpu(number, gpu, paint));
        }
        if self.gpus.is_empty() {
            let explains = |one: &Obstacle| matches!(one.what, "gpu-node-of-arm" | "acpi");
            let why = match self.obstacles.iter().any(explains) {
                true => "see the obstacles",
                false => "nothing to bind",
            };
            tree.line(format!("no Mali CSF GPU: {why}"));
        }
        if !self.heaps.is_empty() {
            let mut heaps = Tree::new("heaps for media pipelines");
            for super::Usage { usage, heap, exists } in &self.heaps {
                let gone = if *exists { "" } else { " (does not exist)" };
                heaps.line(format!("{}: {}{gone}", Sanitized(usage), Sanitized(heap)));
            }
            tree.branch(heaps);
        }
        if !self.obstacles.is_empty() {
            let mut way = Tree::new("obstacles");
            for obstacle in &self.obstacles {
                way.branch(shown(obstacle, paint));
            }
            tree.branch(way);
        }
        if let Some(why) = self.known_not("/obstacles") {
            tree.line(format!("obstacles may be missing: {why}"));
        }
        tree.to_string()
    }

    fn writer(&self) -> String {
        let Some(Writer { written_by, running }) = &self.writer else {
            return match self.known_not("/writer") {
                Some(why) => format!("failed to read state.json: {why}"),
                None => {
                    format!("no state.json: neither protheap-bind nor {DAEMON} has written one")
                }
            };
        };
        let running = match running {
            Some(true) => "is running",
            Some(false) => "has exited: the contents may be outdated",
            None => "may have exited: not all processes are visible",
        };
        format!("state.json by {}, which {running}", Sanitized(written_by))
    }

    /// Returns why a member is unknown, if it is.
    fn known_not(&self, member: &str) -> Option<String> {
        let unknown = self.unknown.iter().find(|unknown| unknown.member == member)?;
        Some(Sanitized(&unknown.why).to_string())
    }

    fn why(&self, member: &str) -> String {
        self.known_not(member).unwrap_or_default()
    }

    fn gpu(&self, number: usize, gpu: &Status, paint: Paint) -> Tree {
        let device = Sanitized(&gpu.device);
        let mut tree = Tree::new(format!("GPU {device} ({})", joined(&gpu.compatible, "-")));
        let unknown = |member: &str| self.known_not(&format!("/gpus/{number}/{member}"));
        let mut line = |name: &str, value: &str| tree.line(format!("{name:<11} {value}"));
        line("state", &self.state(gpu, &unknown, paint));
        if gpu.from == Some(From::DeviceTree) {
            return tree;
        }
        line("driver", &joined(&gpu.driver, "none"));
        if let Some(heap) = &gpu.heap {
            let tried = if gpu.is_bound() { "" } else { " (last attempt)" };
            line("heap", &format!("{heap}{tried}"));
        }
        if let Some(word) = gpu.protection {
            let exporter = joined(&gpu.exporter, "unknown");
            let meaning = protection(word);
            line("protection", &format!("{word}: {meaning}; exporter {exporter}"));
            if let Some(firewall) = firewall(word, gpu.firewall) {
                line("firewall", &firewall);
            }
        }
        match (&gpu.policy, unknown("policy"), &gpu.origin) {
            (Some(key), _, Some(origin)) => {
                line("policy", &format!("{key} ({})", Sanitized(origin)));
            }
            (Some(key), _, None) => line("policy", key.as_str()),
            (None, _, Some(origin)) => line("policy", &Sanitized(origin).to_string()),
            (None, Some(why), None) => line("policy", &format!("unknown: {why}")),
            (None, None, None) => {}
        }
        if let Some(buffers) = buffers(gpu) {
            line("buffers", &buffers);
        }
        if let Some(why) = &gpu.suspend_shortage {
            line("shortage", &Sanitized(why).to_string());
        }
        match (gpu.since_us, unknown("since_us")) {
            (Some(since), _) => line("since", &format!("{} after boot", seconds(since))),
            (None, Some(why)) => line("since", &format!("unknown: {why}")),
            (None, None) => {}
        }
        if let Some(held) = gpu.held_us.filter(|held| *held > 0) {
            line("held", &seconds(held));
        }
        if let Some(next) = &gpu.next {
            let heap = joined(&next.heap, "no heap");
            let policy = next.policy.as_ref().map(|key| format!(", by policy {key}"));
            let policy = policy.unwrap_or_default();
            line("next boot", &paint.text(Tone::Note, &format!("{heap}{policy}")));
        } else if let Some(why) = unknown("next") {
            line("next boot", &format!("unknown: {why}"));
        }
        tree
    }

    fn state(
        &self,
        gpu: &Status,
        unknown: &dyn Fn(&str) -> Option<String>,
        paint: Paint,
    ) -> String {
        let Some(state) = gpu.state else {
            let why = unknown("state").unwrap_or_default();
            return format!("{}: {why}", paint.text(Tone::Note, "unknown"));
        };
        let tone = match state {
            State::Bound | State::InUse => Tone::Good,
            State::Failed => Tone::Bad,
            _ => Tone::Note,
        };
        let meaning = match gpu.from {
            Some(From::DeviceTree) => "the kernel has created no device for its node",
            _ if gpu.is_bound() && self.delivery == Some(Delivery::PanthorParameter) => {
                "panthor has the name of the heap, and allocates its own buffers"
            }
            _ => words::state(state),
        };
        let word = paint.text(tone, state.as_str());
        if let Some(why) = unknown("reason") {
            return format!("{word}: {meaning}; reason unknown: {why}");
        }
        match gpu.reason.flatten() {
            None => format!("{word}: {meaning}"),
            Some(reason) if gpu.is_bound() => {
                format!("{word}: {meaning} ({reason}: {})", words::reason(reason).meaning)
            }
            Some(reason) => format!("{word}, {reason}: {}", words::reason(reason).meaning),
        }
    }
}

fn buffers(gpu: &Status) -> Option<String> {
    let firmware = gpu.firmware_bytes?;
    let mut text = format!("{} for the firmware", size(firmware));
    if let (Some(bytes), Some(count)) = (gpu.suspend_bytes, gpu.suspend_count) {
        let _ = write!(text, ", at most {count} of {} for suspended groups", size(bytes));
    } else if let Some(bytes) = gpu.suspend_bytes {
        let _ = write!(text, "; clients allocate {} for each protected group", size(bytes));
        return Some(text);
    }
    if let (Some(free), Some(in_use)) = (gpu.suspend_free, gpu.suspend_in_use) {
        let all = gpu.suspend_buffers().filter(|all| Some(*all) < gpu.suspend_count);
        let all = all.map(|all| format!(" {all} allocated,")).unwrap_or_default();
        let _ = write!(text, ":{all} {free} free, {in_use} in use");
    } else if gpu.is_bound() {
        text += ": number in use unknown";
    }
    Some(text)
}

fn size(bytes: u64) -> String {
    if bytes.is_multiple_of(1024) {
        format!("{} KiB", bytes / 1024)
    } else {
        format!("{bytes} bytes")
    }
}

/// Formats microseconds as seconds.
fn seconds(us: u64) -> String {
    format!("{}.{:03} s", us / 1_000_000, us / 1_000 % 1_000)
}

fn shown(obstacle: &Obstacle, paint: Paint) -> Tree {
    let Obstacle { gpu, message, next, .. } = obstacle;
    let gpu = gpu.as_deref().map(|gpu| format!("{}: ", Sanitized(gpu))).unwrap_or_default();
    let message = paint.text(Tone::Note, &Sanitized(message).to_string());
    let mut tree = Tree::new(format!("{gpu}{message}"));
    if !next.is_empty() {
        tree.line(format!("→ {}", Sanitized(next)));
    }
    tree
}
