// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests the obstacles that `protheapctl explain` and `protheapctl status` find in a machine's
//! tree.

#![allow(clippy::unwrap_used, reason = "tests")]

mod machine;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::Value;

use machine::{Directory, protheapctl, text};

const IMAGE: &str = "arm/mali/arch10.8/mali_csffw.bin";
const NODE: &str = "sys/firmware/devicetree/base";

fn file(machine: &Directory, path: &str, content: impl AsRef<[u8]>) {
    let path = machine.0.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn json(machine: &Directory, command: &str) -> Value {
    let output = protheapctl(&[command, "--root", machine.0.to_str().unwrap(), "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
}

fn shown(machine: &Directory, command: &str) -> String {
    text(&protheapctl(&[command, "--root", machine.0.to_str().unwrap()]).stdout)
}

/// Returns message and remedy of the obstacle `what`, which both commands must agree on.
fn obstacle(machine: &Directory, what: &str) -> Option<(String, String)> {
    let find = |command: &str| {
        let found = json(machine, command);
        let all = found["obstacles"].as_array().unwrap().clone();
        let one = all.into_iter().find(|one| one["what"] == what)?;
        let text = |member: &str| one[member].as_str().unwrap().to_owned();
        Some((text("message"), text("next")))
    };
    let found = find("explain");
    assert_eq!(found, find("status"), "{what}");
    if let Some((message, next)) = &found {
        assert!(!next.is_empty(), "{what}");
        for command in ["explain", "status"] {
            let shown = shown(machine, command);
            assert!(shown.contains(message.as_str()) && shown.contains(next), "{shown}");
        }
    }
    found
}

fn message(machine: &Directory, what: &str) -> Option<String> {
    obstacle(machine, what).map(|(message, _)| message)
}

#[test]
fn obstacles_of_every_machine_are_documented_and_have_a_remedy() {
    let document = include_str!("../../../docs/protheapctl.md");
    let mut count = 0;
    for name in machine::names() {
        let found = json(&Directory::machine(&name), "explain");
        for obstacle in found["obstacles"].as_array().unwrap() {
            let what = obstacle["what"].as_str().unwrap();
            assert!(document.contains(&format!("| `{what}` |")), "{name}: {what}");
            assert_ne!(obstacle["next"], "", "{name}: {what}");
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}

#[test]
fn missing_firmware_is_named_unless_the_kernel_finds_it() {
    const WHAT: &str = "firmware-missing";
    let machine = || Directory::machine("rk3588-rock-5b-optee");
    let (message, next) = obstacle(&machine(), WHAT).unwrap();
    assert!(message.starts_with(&format!("{IMAGE} is in no firmware directory")), "{message}");
    assert!(message.contains("error -2") && next.contains("firmware-misc-nonfree"), "{message}");
    // Another image does not help.
    let other = machine();
    file(&other, "lib/firmware/arm/mali/arch10.10/mali_csffw.bin", "");
    assert!(obstacle(&other, WHAT).is_some());
    let release = json(&machine(), "explain")["kernel"]["release"].as_str().unwrap().to_owned();
    let mut places = vec!["lib/firmware".to_owned(), "usr/lib/firmware".to_owned()];
    places.push("lib/firmware/updates".to_owned());
    if !release.is_empty() {
        places.push(format!("lib/firmware/{release}"));
        places.push(format!("lib/firmware/updates/{release}"));
    }
    for place in places {
        for suffix in ["", ".xz", ".zst"] {
            let found = machine();
            file(&found, &format!("{place}/{IMAGE}{suffix}"), "");
            assert_eq!(obstacle(&found, WHAT), None, "{place}{suffix}");
        }
    }
    let custom = machine();
    file(&custom, "sys/module/firmware_class/parameters/path", "/opt/fw\n");
    file(&custom, &format!("opt/fw/{IMAGE}"), "");
    assert_eq!(obstacle(&custom, WHAT), None);
    let driven = machine();
    driver(&driven, "fb000000.gpu", "panthor");
    assert_eq!(obstacle(&driven, WHAT), None, "a bound driver has found it");
}

fn driver(machine: &Directory, device: &str, driver: &str) {
    let link = machine.0.join(format!("sys/bus/platform/devices/{device}/driver"));
    let _ = fs::remove_file(&link);
    symlink(format!("../../../bus/platform/drivers/{driver}"), link).unwrap();
}

/// Gives the machine one kernel with this configuration.
fn configure(machine: &Directory, text: &str) {
    let _ = fs::remove_dir_all(machine.0.join("lib/modules"));
    fs::create_dir_all(machine.0.join("lib/modules/7.3.4")).unwrap();
    file(machine, "boot/config-7.3.4", text);
}

#[test]
fn firmware_can_be_built_in_and_needs_decompression() {
    let machine = Directory::machine("rk3588-rock-5b-optee");
    let options = "CONFIG_DRM_PANTHOR=m\nCONFIG_DMABUF_HEAPS=y\nCONFIG_OPTEE=y\n";
    let built_in = format!("{options}CONFIG_EXTRA_FIRMWARE=\"x.bin {IMAGE}\"\n");
    configure(&machine, &built_in);
    assert_eq!(obstacle(&machine, "firmware-missing"), None);
    configure(&machine, options);
    assert!(obstacle(&machine, "firmware-missing").is_some());
    file(&machine, &format!("lib/firmware/{IMAGE}.xz"), "");
    let found = message(&machine, "kernel-option").unwrap();
    assert!(found.contains("CONFIG_FW_LOADER_COMPRESS_XZ is disabled"), "{found}");
    configure(&machine, &format!("{options}CONFIG_FW_LOADER_COMPRESS_XZ=y\n"));
    assert_eq!(obstacle(&machine, "kernel-option"), None);
}

#[test]
fn initrd_with_the_gpu_driver_needs_the_image() {
    let machine = Directory::machine("rk3588-rock-5b-optee");
    file(&machine, "etc/initrd-release", "ID=debian\n");
    let _ = fs::remove_dir_all(machine.0.join("lib/modules"));
    let dependencies = "lib/modules/7.3.4/modules.dep";
    file(&machine, dependencies, "kernel/drivers/gpu/drm/other.ko:\n");
    let _ = fs::remove_dir_all(machine.0.join("sys/bus/platform/drivers/panthor"));
    for what in ["firmware-missing", "firmware-not-in-initrd"] {
        assert_eq!(obstacle(&machine, what), None, "the GPU driver is not in the initrd");
    }
    file(&machine, dependencies, "kernel/drivers/gpu/drm/panthor/panthor.ko.xz:\n");
    let found = message(&machine, "firmware-not-in-initrd").unwrap();
    assert!(found.contains(IMAGE), "{found}");
    assert_eq!(obstacle(&machine, "firmware-missing"), None);
    file(&machine, &format!("lib/firmware/{IMAGE}"), "");
    assert_eq!(obstacle(&machine, "firmware-not-in-initrd"), None);
}

#[test]
fn failed_provider_is_named_and_not_waited_for() {
    let machine = Directory::machine("rk3588-rock-5b-no-firmware");
    let (message, next) = obstacle(&machine, "provider-failed").unwrap();
    assert!(message.starts_with("firmware:optee: driver optee is registered"), "{message}");
    assert!(next.contains("firmware with OP-TEE"), "{next}");
    let found = json(&machine, "explain");
    assert_eq!(found["gpus"][0]["reason"], "no-heap");
    assert_eq!(found["providers"][0]["finished"], true);
    let bound = Directory::machine("rk3588-rock-5b-optee");
    assert_eq!(obstacle(&bound, "provider-failed"), None);
}

#[test]
fn tee_without_a_heap_names_the_build_options_or_the_kernel_s() {
    const WHAT: &str = "tee-without-protected-memory";
    let machine = Directory::machine("imx952-evk");
    let (message, next) = obstacle(&machine, WHAT).unwrap();
    assert!(message.contains("optee 4."), "{message}");
    for option in ["CFG_CORE_DYN_PROTMEM=y", "CFG_TEE_SDP_MEM_BASE", "4.9"] {
        assert!(next.contains(option), "{next}");
    }
    configure(&machine, "CONFIG_DRM_PANTHOR=m\nCONFIG_OPTEE=y\nCONFIG_DMABUF_HEAPS=y\n");
    assert_eq!(obstacle(&machine, WHAT), None, "the kernel is the cause");
    let (message, _) = obstacle(&machine, "kernel-option").unwrap();
    assert!(message.contains("CONFIG_TEE_DMABUF_HEAPS is disabled"), "{message}");
    let bound = Directory::machine("rk3588-rock-5b-optee");
    assert_eq!(obstacle(&bound, WHAT), None);
}

#[test]
fn heap_that_others_can_open_is_named_with_the_rule() {
    const WHAT: &str = "open-heap";
    let rules = "usr/lib/udev/rules.d";
    let video = "SUBSYSTEM==\"dma_heap\", GROUP=\"video\", MODE=\"0660\"\n";
    let ours = include_str!("../../../systemd/udev/rules.d/99-zz-protheap-heaps.rules");
    let machine = Directory::machine("rk3588-rock-5b-optee");
    assert_eq!(obstacle(&machine, WHAT), None);
    file(&machine, &format!("{rules}/99-com.rules"), video);
    let (message, next) = obstacle(&machine, WHAT).unwrap();
    for part in ["/dev/dma_heap/protected,secure-video", "the group video", "99-com.rules:1"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(next.contains("99-zz-protheap-heaps.rules"), "{next}");
    file(&machine, &format!("{rules}/99-zz-protheap-heaps.rules"), ours);
    assert_eq!(obstacle(&machine, WHAT), None);
    // A device node is the truth.
    let node = "dev/dma_heap/protected,secure-video";
    file(&machine, node, "");
    fs::set_permissions(machine.0.join(node), Permissions::from_mode(0o666)).unwrap();
    assert!(obstacle(&machine, WHAT).is_some());
    let keep = "SUBSYSTEM==\"dma_heap\", ENV{PROTHEAP_KEEP_MODE}=\"1\"\n";
    file(&machine, "etc/udev/rules.d/10-keep.rules", keep);
    assert_eq!(obstacle(&machine, WHAT), None, "it is intended");

    // A heap with a vendor's name is protected if a policy names it.
    let vendor = Directory::machine("imx95-19x19-evk-linaro");
    file(&vendor, &format!("{rules}/99-com.rules"), video);
    file(&vendor, &format!("{rules}/99-zz-protheap-heaps.rules"), ours);
    let (message, next) = obstacle(&vendor, WHAT).unwrap();
    assert!(message.contains("/dev/dma_heap/secure ") && next.contains("KERNEL==\"secure\""));
}

#[test]
fn node_for_arm_s_driver_is_named() {
    const WHAT: &str = "gpu-node-of-arm";
    let described = |board: &str, compatible: &str| {
        let machine = Directory::machine("rk3588-rock-5b-optee");
        file(&machine, &format!("{NODE}/compatible"), board);
        for entry in fs::read_dir(machine.0.join(NODE)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.starts_with("gpu@") {
                file(&machine, &format!("{NODE}/{name}/compatible"), compatible);
            }
        }
        machine
    };
    let rock = "radxa,rock-5b\0rockchip,rk3588\0";
    for (board, compatible) in [
        (rock, "arm,mali-valhall\0"),
        (rock, "arm,mali-bifrost\0"),
        ("acme,z9\0", "acme,z9-mali\0arm,mali-valhall\0"),
    ] {
        let machine = described(board, compatible);
        let message = message(&machine, WHAT).unwrap();
        assert!(message.contains("Arm's kernel driver") && message.contains("/gpu@"), "{message}");
        assert!(message.contains("arm,mali-valhall-csf"), "{message}");
        for command in ["explain", "status"] {
            assert!(!shown(&machine, command).contains("nothing to bind"), "{command}");
        }
        let draft = protheapctl(&["draft", "--root", machine.0.to_str().unwrap()]);
        let why = text(&draft.stderr);
        assert!(why.contains("Arm's kernel driver") && !why.contains("needs no policy"), "{why}");
    }
    // Kernel.org's name for a GPU without CSF, and the names of mainline's node.
    let bifrost = described("acme,z9\0", "acme,z9-mali\0arm,mali-bifrost\0");
    assert_eq!(obstacle(&bifrost, WHAT), None);
    assert!(shown(&bifrost, "explain").contains("no Mali CSF GPU: nothing to bind"));
    let both = described(rock, "arm,mali-valhall-csf\0arm,mali-valhall\0");
    assert_eq!(obstacle(&both, WHAT), None);
}

#[test]
fn acpi_machine_is_told_that_there_is_nothing_to_bind() {
    let machine = Directory::new("acpi");
    fs::create_dir_all(machine.0.join("sys/firmware/acpi/tables")).unwrap();
    let found = message(&machine, "acpi").unwrap();
    assert!(found.contains("boots with ACPI"), "{found}");
    let draft = protheapctl(&["draft", "--root", machine.0.to_str().unwrap()]);
    assert!(text(&draft.stderr).contains("ACPI"));
    // Tables beside a device tree do not matter.
    let tree = Directory::machine("rk3588-rock-5b-optee");
    fs::create_dir_all(tree.0.join("sys/firmware/acpi")).unwrap();
    assert_eq!(obstacle(&tree, "acpi"), None);
}

#[test]
fn driver_that_takes_no_binding_is_named() {
    const WHAT: &str = "driver-without-delivery";
    let unpatched = Directory::machine("rk3588s-khadas-edge2-unpatched");
    let (message, next) = obstacle(&unpatched, WHAT).unwrap();
    assert!(message.contains("panthor takes no binding"), "{message}");
    assert!(next.contains("driver/patches") && next.contains("protected_heap_name"), "{next}");
    let arm = Directory::machine("rk3588-rock-5b-optee");
    driver(&arm, "fb000000.gpu", "mali");
    let (message, _) = obstacle(&arm, WHAT).unwrap();
    assert!(message.contains("kbase"), "{message}");
    driver(&arm, "fb000000.gpu", "panthor");
    assert_eq!(obstacle(&arm, WHAT), None);
}

#[test]
fn unverified_reach_is_told_by_explain_only() {
    const WHAT: &str = "reach-unverified";
    let machine = Directory::machine("rk3588-rock-5b-optee");
    let has = |command: &str| {
        let found = json(&machine, command);
        found["obstacles"].as_array().unwrap().iter().any(|one| one["what"] == WHAT)
    };
    assert!(has("explain") && !has("status"));
    let tested = "schema = 1\n[evidence.\"protected,secure-video\"]\nstatus = \"tested\"\n\
                  source = \"a test\"\n";
    file(&machine, "etc/protheap/policies/radxa,rock-5b.toml", tested);
    assert!(!has("explain"));
}

#[test]
fn carve_outs_are_listed_for_a_tree() {
    let machine = Directory::machine("rk3588-rock-5b-optee");
    let memory = format!("{NODE}/reserved-memory");
    for name in ["#address-cells", "#size-cells"] {
        file(&machine, &format!("{memory}/{name}"), 2_u32.to_be_bytes());
    }
    let region = format!("{memory}/gpu-protected@a0000000");
    let cells = [0_u32, 0xa000_0000, 0, 0x0100_0000];
    file(&machine, &format!("{region}/reg"), cells.map(u32::to_be_bytes).concat());
    file(&machine, &format!("{region}/no-map"), "");
    file(&machine, &format!("{region}/compatible"), "mali-reserved\0");
    file(&machine, &format!("{region}/phandle"), 7_u32.to_be_bytes());
    let allocator = format!("{NODE}/protected-memory-allocator");
    file(&machine, &format!("{allocator}/compatible"), "arm,protected-memory-allocator\0");
    file(&machine, &format!("{allocator}/memory-region"), 7_u32.to_be_bytes());
    let found = json(&machine, "explain")["carve_outs"].clone();
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found[0]["name"], "gpu-protected");
    assert_eq!(found[0]["bytes"], 0x0100_0000);
    assert_eq!(found[0]["allocator"]["device"], "protected-memory-allocator");
    let shown = shown(&machine, "explain");
    assert!(shown.contains("gpu-protected@a0000000: 16384 KiB"), "{shown}");
}
