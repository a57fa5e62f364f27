// SPDX-License-Identifier: MIT OR Apache-2.0
//! The demo: prints the events of one GPU when they happen, and the result. All values are read from the system.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{json, now_us};

const STATE: &str = "/run/protheap/state.json";

/// Returns the time of a step in a timeline, in microseconds.
pub(crate) fn step_us(state: &Value, timeline: &str, step: &str) -> Option<u64> {
    let steps = state.pointer(timeline)?.as_array()?;
    steps.iter().find(|entry| entry["step"] == step)?["at_us"].as_u64()
}

/// State of one GPU, as the system reports it.
#[derive(Debug)]
struct Gpu<'a> {
    device: &'a str,
    state: Value,
    index: Option<usize>,
}

impl<'a> Gpu<'a> {
    fn read(device: &'a str) -> Self {
        let state = json(STATE).unwrap_or_default();
        let index = state["gpus"]
            .as_array()
            .and_then(|gpus| gpus.iter().position(|g| g["device"] == device));
        Self { device, state, index }
    }

    /// Returns its entry in state.json.
    fn entry(&self) -> &Value {
        self.index.map_or(&Value::Null, |index| &self.state["gpus"][index])
    }

    fn binding(&self, name: &str) -> Option<String> {
        line(&format!("/sys/kernel/config/protheap/{}/{name}", self.device))
    }

    fn debug(&self, name: &str) -> Option<u64> {
        line(&format!("/sys/kernel/debug/csfgpu/{}/{name}", self.device))?.parse().ok()
    }

    /// Returns the time at which its driver probed, in microseconds: csfgpu reports it; panthor boots the simulated
    /// firmware when it probes.
    fn probed_us(&self) -> Option<u64> {
        let at = self
            .debug("probed_at_us")
            .or_else(|| modelled("firmware", "booted-at-us")?.parse().ok());
        at.filter(|&at| at > 0)
    }

    fn driver(&self) -> Option<String> {
        let link =
            fs::read_link(format!("/sys/bus/platform/devices/{}/driver", self.device)).ok()?;
        Some(link.file_name()?.to_string_lossy().into_owned())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.binding(name)?.parse().ok()
    }
}

/// Returns a value from a file of the simulated GPU.
fn modelled(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/sys/kernel/debug/csfmodel/{file}")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(value.to_owned())
}

/// Returns a counter of the simulated GPU.
fn counted(name: &str) -> Option<u64> {
    modelled("counters", name)?.parse().ok()
}

/// Returns the contents of a small file, without trailing white space.
fn line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim_end().to_owned())
}

/// Prints the events of a GPU until the file `until` exists, but not longer than `limit`.
pub(crate) fn watch(device: &str, until: &str, limit: Duration) {
    let started = Instant::now();
    let (mut known, mut pending) = (BTreeSet::new(), BTreeSet::new());
    let mut before = heaps();
    loop {
        let gpu = Gpu::read(device);
        let mut news = Vec::new();
        for entry in gpu.entry()["timeline"].as_array().into_iter().flatten() {
            let (step, detail) =
                (entry["step"].as_str().unwrap_or("?"), entry["detail"].as_str().unwrap_or(""));
            let text = match step {
                "hold-started" => format!("{device} is held"),
                "provider-probed" => "the heap provider has probed".to_owned(),
                "tried" => "the heap was tried".to_owned(),
                "bound" => format!("{device} is bound"),
                other => other.replace('-', " "),
            };
            let text = if detail.is_empty() { text } else { format!("{text}: {detail}") };
            news.push((entry["at_us"].as_u64().unwrap_or(0), format!("protheap-bind  {text}")));
        }
        let heaps_now = heaps();
        for heap in heaps_now.difference(&before) {
            news.push((now_us(), format!("kernel         heap {heap} appeared")));
        }
        before = heaps_now;
        let driver = gpu.driver().unwrap_or_default();
        if let Some(at) = gpu.probed_us() {
            let bytes =
                gpu.debug("firmware_bytes").or_else(|| gpu.number("firmware_bytes")).unwrap_or(0);
            let text = format!("{device} probed, {bytes} bytes of protected memory for firmware");
            news.push((at, format!("{driver:<14} {text}")));
        }
        if let Some(count) = gpu.number("suspend_in_use").filter(|&count| count > 0) {
            let bytes = gpu.number("suspend_bytes").unwrap_or(0);
            let text =
                format!("a protected group uses a suspend buffer: {count} of {bytes} bytes in use");
            news.push((now_us(), format!("{driver:<14} {text}")));
        }
        if counted("protected-entries") > Some(0) {
            let text = "the firmware entered protected mode to run a job";
            news.push((now_us(), format!("{:<14} {text}", "csfmodel")));
        }
        pending.extend(news.into_iter().filter(|(_, text)| known.insert(text.clone())));
        let over = Path::new(until).exists() || started.elapsed() >= limit;
        // The state is written after the events in it: events are printed with a delay, to be in order.
        let shown = if over { u64::MAX } else { now_us().saturating_sub(200_000) };
        let later = pending.split_off(&(shown, String::new()));
        for (at, text) in std::mem::replace(&mut pending, later) {
            println!("story {at} {text}");
        }
        if over {
            return;
        }
        sleep(Duration::from_millis(10));
    }
}

fn heaps() -> BTreeSet<String> {
    let names = fs::read_dir("/dev/dma_heap").into_iter().flatten().flatten();
    names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Returns the result of the demo, except the name of the board, which only the host has. `known` is the duration of
/// the hold in milliseconds, and whether the GPU was bound before its driver probed, for callers that have measured
/// them: the state of a daemon that adopted the binding has neither.
pub(crate) fn report(device: &str, known: Option<(u64, bool)>) -> Value {
    let gpu = Gpu::read(device);
    let entry = gpu.entry();
    let bound =
        gpu.index.and_then(|i| step_us(&gpu.state, &format!("/gpus/{i}/timeline"), "bound"));
    let before = bound.zip(gpu.probed_us()).map(|(bound, probed)| bound < probed);
    let held_ms = entry["held_us"].as_u64().map(|us| us / 1000);
    let (held_ms, before) = known.map_or((held_ms, before), |(ms, it)| (Some(ms), Some(it)));
    json!({
        "compatible": gpu.state["platform"]["compatible"],
        "policies": gpu.state["policies"],
        "gpu": device,
        "driver": gpu.driver(),
        "heap": entry["heap"],
        "protection": entry["protection"],
        "state": gpu.binding("state").or_else(|| Some(entry["state"].as_str()?.to_owned())),
        "reason": gpu.binding("reason").or_else(|| Some(entry["reason"].as_str()?.to_owned())),
        "tee_revision": line("/sys/class/tee/tee0/revision"),
        "protected_memory": heaps().iter().any(|heap| heap.starts_with("protected,")),
        "suspend_buffers": entry["suspend_buffers"],
        "firmware_bytes": gpu.number("firmware_bytes"),
        "suspend_bytes": gpu.number("suspend_bytes"),
        "suspend_in_use": gpu.number("suspend_in_use"),
        "section": modelled("firmware", "protected-section"),
        "section_pages": modelled("firmware", "protected-section-pages").and_then(|n| n.parse::<u64>().ok()),
        "protected_entries": counted("protected-entries"),
        "protected_exits": counted("protected-exits"),
        "denied": counted("denied"),
        "complaints": counted("complaints"),
        "held_ms": held_ms,
        "bound_before_probe": before,
        "boot_ms": now_us() / 1000,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_found_in_its_timeline() {
        let state = json!({"gpus": [{"timeline": [
            {"at_us": 10, "step": "hold-started", "detail": ""},
            {"at_us": 25, "step": "bound", "detail": "protected,secure-video"},
        ]}]});
        assert_eq!(step_us(&state, "/gpus/0/timeline", "bound"), Some(25));
        assert_eq!(step_us(&state, "/gpus/0/timeline", "released"), None);
        assert_eq!(step_us(&state, "/gpus/1/timeline", "bound"), None);
    }
}
