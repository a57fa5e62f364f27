// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine of tests/boards with the state that a run has left.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::machine::{Directory, repository};

/// The only GPU of most machines.
pub(crate) const GPU: &str = "fb000000.gpu";
/// The heap of most machines.
pub(crate) const HEAP: &str = "protected,secure-video";
pub(crate) const ORIGIN: &str = "/usr/lib/protheap/policies/rockchip,rk3588.toml:14:13";

/// A machine in a temporary directory.
pub(crate) struct Scene(pub(crate) Directory);

impl Scene {
    /// Copies the machine from tests/boards, with these programs run by root.
    pub(crate) fn new(machine: &str, programs: &[&str]) -> Self {
        let scene = Self(Directory::machine(machine));
        scene.link("proc/self/ns/pid", "pid:[4026531836]");
        for (number, program) in (1..).zip(["systemd"].iter().chain(programs)) {
            scene.process(number, program, 0);
        }
        scene
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.0.join(path)
    }

    pub(crate) fn root(&self) -> &str {
        self.0.0.to_str().unwrap()
    }

    pub(crate) fn file(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn link(&self, path: &str, target: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    pub(crate) fn process(&self, number: u32, program: &str, user: u32) {
        self.file(&format!("proc/{number}/comm"), &format!("{program}\n"));
        let status = format!("Name:\t{program}\nUid:\t{user}\t{user}\t{user}\t{user}\n");
        self.file(&format!("proc/{number}/status"), &status);
    }

    /// Binds this driver to the GPU.
    pub(crate) fn driver(&self, driver: &str) {
        let target = format!("../../../bus/platform/drivers/{driver}");
        self.link(&format!("sys/devices/platform/{GPU}/driver"), &target);
    }

    /// Links the usage to this heap.
    pub(crate) fn usage(&self, usage: &str, heap: &str) {
        self.link(&format!("run/protheap/heaps/{usage}"), &format!("/dev/dma_heap/{heap}"));
    }

    /// Adds a binding of protheap.ko for the GPU. These attributes differ from those of a new
    /// binding.
    pub(crate) fn binding(&self, attributes: &[(&str, &str)]) {
        self.file("sys/module/protheap/refcnt", "1\n");
        let new = [
            ("heap", ""),
            ("origin", ""),
            ("state", "open"),
            ("reason", ""),
            ("exporter", ""),
            ("allow_unprotected", "0"),
            ("firmware_bytes", "262144"),
            ("suspend_bytes", "65536"),
            ("suspend_count", "16"),
            ("suspend_free", "16"),
            ("suspend_in_use", "0"),
        ];
        for (name, value) in new.iter().chain(attributes) {
            self.file(&format!("sys/kernel/config/protheap/{GPU}/{name}"), &format!("{value}\n"));
        }
    }

    /// Adds a committed binding in this state.
    pub(crate) fn bound(&self, state: &str, attributes: &[(&str, &str)]) {
        let all = [("heap", HEAP), ("origin", ORIGIN), ("state", state), ("exporter", "tee")];
        self.binding(&[&all[..], attributes].concat());
    }

    /// Writes `state.json` with this GPU, and with members that differ from the defaults.
    pub(crate) fn state(&self, by: &str, device: &str, gpu: Value, other: Value) {
        let mut file = json!({
            "schema": 1, "written_by": format!("{by} 0.1.0"), "delivery": "module",
            "platform": {"compatible": [], "model": null},
            "policies": [], "refused": [], "gpus": [], "heaps": {},
        });
        let mut all = json!({
            "device": device, "compatible": ["arm,mali-valhall-csf"], "driver": null,
            "state": "unprotected", "reason": "", "heap": null, "protection": null,
            "exporter": null, "policy": null, "firmware_bytes": null, "suspend_bytes": 65536,
            "suspend_count": 16, "held_us": 0, "next": null, "considered": [], "timeline": [],
        });
        merge(&mut all, gpu);
        merge(&mut file, other);
        file["gpus"] = json!([all]);
        self.file("run/protheap/state.json", &file.to_string());
    }
}

fn merge(into: &mut Value, from: Value) {
    let (Value::Object(into), Value::Object(from)) = (into, from) else { panic!("no objects") };
    into.extend(from);
}

/// Returns the entry of `state.json` for a GPU with a heap.
pub(crate) fn has_heap(state: &str) -> Value {
    json!({
        "state": state, "heap": HEAP, "protection": "tee", "exporter": "tee",
        "firmware_bytes": 262_144,
    })
}

/// Returns the entry of `state.json` for a GPU that the early binder has bound.
pub(crate) fn bound_by_binder() -> Value {
    let mut gpu = has_heap("bound");
    let considered = json!([{
        "candidate": HEAP, "origin": ORIGIN, "outcome": "chosen", "detail": "exporter tee",
    }]);
    let timeline = json!([
        {"at_us": 1_204_113, "step": "hold-started", "detail": "for at most 4999 ms"},
        {"at_us": 3_208_625, "step": "heap-appeared", "detail": HEAP},
        {"at_us": 3_209_313, "step": "provider-probed", "detail": "firmware:optee"},
        {"at_us": 3_213_943, "step": "tried", "detail": "protected,secure-video: protection tee, exporter tee"},
        {"at_us": 3_214_124, "step": "bound"},
    ]);
    let more = json!({
        "policy": "rockchip,rk3588", "held_us": 2_010_120,
        "considered": considered, "timeline": timeline,
    });
    merge(&mut gpu, more);
    gpu
}

/// Returns the path of a file with expected output.
pub(crate) fn golden(name: &str) -> PathBuf {
    repository().join("daemon/ctl/tests/golden/status").join(name)
}
