// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests the policies of the repository on platforms from public reports.

use std::fs;
use std::path::Path;

use crate::machine::{Directory, protheapctl, text};
use serde_json::Value;

fn write(root: &Path, path: &str, contents: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}

/// Returns the output of `explain --json` for a machine whose kernel has protheap.ko.
fn explain(machine: &Directory) -> Value {
    write(&machine.0, "sys/kernel/config/protheap/abi", "1\n");
    write(&machine.0, "sys/kernel/config/protheap/can_allocate", "0\n");
    let output = protheapctl(&["explain", "--json", "--root", machine.0.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn add_heap(machine: &Directory, name: &str) {
    fs::create_dir_all(machine.0.join("sys/class/dma_heap").join(name)).unwrap();
}

fn remove_heap(machine: &Directory, name: &str) {
    fs::remove_file(machine.0.join("sys/class/dma_heap").join(name)).unwrap();
}

fn outcomes(explained: &Value) -> Vec<(String, String)> {
    let candidates = explained["gpus"][0]["candidates"].as_array().unwrap();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    candidates.iter().map(|one| (word(&one["candidate"]), word(&one["outcome"]))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, word)| ((*name).to_owned(), (*word).to_owned())).collect()
}

#[test]
fn heap_of_nxps_allocator_is_selected_and_awaited() {
    let machine = Directory::machine("imx95-acme-carrier");
    let found = explain(&machine);
    assert_eq!(found["gpus"][0]["decision"], "protected");
    assert_eq!(found["gpus"][0]["values"]["firmware"]["value"], "arch10.12");

    // The driver of the allocator is installed and has not probed.
    remove_heap(&machine, "protected");
    let device = "sys/devices/platform/protected-memory-allocator/driver";
    fs::remove_file(machine.0.join(device)).unwrap();
    fs::remove_dir_all(machine.0.join("sys/bus/platform/drivers/protected_memory_allocator"))
        .unwrap();
    let alias = "alias of:N*T*Carm,protected-memory-allocator pma\n";
    write(&machine.0, "lib/modules/6.12.20-lts-next/modules.alias", alias);
    add_heap(&machine, "protected,secure-video");
    let found = explain(&machine);
    assert_eq!(found["gpus"][0]["reason"], "waiting");
    let expected = [("protected", "awaited"), ("protected,secure-video", "not-reached")];
    assert_eq!(outcomes(&found), pairs(&expected));

    // No driver for the allocator is installed.
    write(&machine.0, "lib/modules/6.12.20-lts-next/modules.alias", "");
    assert_eq!(explain(&machine)["gpus"][0]["decision"], "protected,secure-video");
}

#[test]
fn mainline_kernel_on_imx95_waits_only_for_optee() {
    let machine = Directory::machine("imx95-verdin-shadowed");
    fs::remove_dir_all(machine.0.join("run")).unwrap();
    let found = explain(&machine);
    assert_eq!(outcomes(&found)[0], ("protected".into(), "absent".into()), "{found}");
}

#[test]
fn heap_for_video_of_mt8196_is_not_bound_on_a_guess() {
    for name in ["mt8196-chromebook", "mt8196-hylia", "mt8894-evk"] {
        let machine = Directory::machine(name);
        let found = explain(&machine);
        assert_eq!(found["policies"][0]["key"], "mediatek,mt8196", "{name}");
        assert_eq!(found["gpus"][0]["decision"], Value::Null, "{name}");
        assert_eq!(found["gpus"][0]["reason"], "no-heap", "{name}");
        let lists = format!("{}{}", found["gpus"][0]["heaps"], found["share"]);
        assert!(!lists.contains("restricted_mtk"), "{name}: {lists}");
    }
    let machine = Directory::machine("mt8196-android");
    assert_eq!(explain(&machine)["gpus"][0]["decision"], "mtk_prot_page-uncached");
}

/// Returns a machine without a policy of its own, with OP-TEE and without its heap.
fn unknown_board() -> Directory {
    let machine = Directory::machine("rk3588-rock-5b-optee");
    let base = machine.0.join("sys/firmware/devicetree/base");
    fs::write(base.join("compatible"), "nvidia,p3971-0089+p3834-0008\0nvidia,tegra264\0").unwrap();
    remove_heap(&machine, "protected,secure-video");
    machine
}

#[test]
fn vpr_heap_of_tegra_is_never_a_candidate() {
    let machine = unknown_board();
    add_heap(&machine, "protected");
    let found = explain(&machine);
    assert_eq!(found["gpus"][0]["decision"], Value::Null);
    let expected = [("protected,*", "absent"), ("restricted,secure-video", "absent")];
    assert_eq!(outcomes(&found), pairs(&expected));
}

#[test]
fn former_name_of_optees_heap_is_known_on_every_board() {
    let machine = unknown_board();
    add_heap(&machine, "restricted,secure-video");
    assert_eq!(explain(&machine)["gpus"][0]["decision"], "restricted,secure-video");
    add_heap(&machine, "protected,secure-video");
    assert_eq!(explain(&machine)["gpus"][0]["decision"], "protected,secure-video");
}

#[test]
fn every_decoder_of_rk3588_has_a_table() {
    for name in ["rk3588-rock-5b-optee", "rk3588s-orangepi-5-initrd", "rk3582-radxa-e52c"] {
        let found = explain(&Directory::machine(name));
        let share = found["share"].as_array().unwrap();
        let tables: Vec<_> = share.iter().map(|one| one["compatible"].as_str().unwrap()).collect();
        let expected = [
            "arm,mali-valhall-csf",
            "rockchip,display-subsystem",
            "rockchip,rk3588-av1-vpu",
            "rockchip,rk3588-vdec",
            "rockchip,rk3588-vpu121",
        ];
        assert_eq!(tables, expected, "{name}");
    }
}
