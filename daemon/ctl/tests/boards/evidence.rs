// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests `protheapctl evidence` and `protheapctl report`.

use std::fs;
use std::path::Path;

use crate::machine::{Directory, protheapctl, repository, text};
use serde_json::Value;

/// If set, tests write the expected output instead of comparing it.
const RENEW: &str = "PROTHEAP_RENEW";

fn run(command: &str, machine: &Directory, options: &[&str]) -> String {
    let root = machine.0.to_str().unwrap();
    let output = protheapctl(&[&[command, "--root", root], options].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).replace(root, "")
}

fn json(command: &str, machine: &Directory) -> Value {
    serde_json::from_str(&run(command, machine, &["--json"])).unwrap()
}

fn write(root: &Path, path: &str, contents: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}

fn compare(name: &str, found: &str) {
    let golden = repository().join("daemon/ctl/tests/golden").join(name);
    if std::env::var_os(RENEW).is_some() {
        fs::create_dir_all(golden.parent().unwrap()).unwrap();
        fs::write(golden, found).unwrap();
    } else {
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert!(
            expected == found,
            "not as {name}; `{RENEW}=1 cargo test -p protheapctl` writes it anew:\n{found}"
        );
    }
}

/// Returns a machine that has run, with a configuration, and with numbers that identify it.
fn machine_with_history() -> Directory {
    let machine = Directory::machine("rk3588-rock-5b-optee");
    let root = &machine.0;
    let state = r#"{"schema": 1, "written_by": "protheap-bind 0.1.0", "gpus": [{"device":
        "fb000000.gpu", "state": "in-use", "reason": "", "heap": "protected,secure-video",
        "protection": "tee", "exporter": "tee"}]}"#;
    write(root, "run/protheap/state.json", state);
    let options = "CONFIG_OPTEE=y\nCONFIG_TEE=y\nCONFIG_TEE_DMABUF_HEAPS=y\nCONFIG_DRM_PANTHOR=m\n";
    write(root, "boot/config-7.3.4", options);
    write(root, "sys/firmware/devicetree/base/serial-number", "SERIAL-4711\0");
    write(root, "sys/devices/soc0/soc_id", "RK3588\n");
    write(root, "sys/devices/soc0/revision", "1.0\n");
    write(root, "sys/devices/soc0/serial_number", "SERIAL-4712\n");
    fs::create_dir_all(root.join("sys/bus/soc/devices")).unwrap();
    std::os::unix::fs::symlink("../../../devices/soc0", root.join("sys/bus/soc/devices/soc0"))
        .unwrap();
    write(root, "etc/machine-id", "4713471347134713471347134713abcd\n");
    write(root, "etc/hostname", "host-4714\n");
    write(root, "sys/class/net/eth0/address", "02:00:47:15:00:00\n");
    write(root, "proc/cmdline", "root=UUID=47160000-0000 serial=SERIAL-4717\n");
    machine
}

#[test]
fn evidence_matches_the_golden_files() {
    for name in ["imx95-acme-carrier", "mt8196-chromebook", "rk3588-rock-5b", "tegra264-no-mali"] {
        let machine = Directory::machine(name);
        compare(&format!("evidence/{name}.txt"), &run("evidence", &machine, &[]));
        let found = serde_json::to_string_pretty(&json("evidence", &machine)).unwrap() + "\n";
        compare(&format!("evidence/{name}.json"), &found);
    }
}

#[test]
fn complete_evidence_has_no_gaps() {
    let machine = Directory::machine("rk3588-rock-5b-optee");
    let gaps = || {
        let found = json("evidence", &machine);
        let heap = &found["heaps"][0];
        assert_eq!(heap["heap"], "protected,secure-video");
        (heap["gaps"].clone(), heap["evidence"].clone())
    };
    let (before, _) = gaps();
    assert!(before.as_array().unwrap().contains(&"name-unverified".into()), "{before}");
    let policy = "schema = 1\n[evidence.\"protected,secure-video\"]\nstatus = \"tested\"\n\
        firewall = \"tested\"\nkernel = \"7.3.4\"\nfirmware = \"OP-TEE 4.9\"\n\
        date = \"2026-11-30\"\nobserver = \"Jane\"\nlink = \"https://a.example/1\"\n";
    write(&machine.0, "etc/protheap/policies/radxa,rock-5b.toml", policy);
    let (after, evidence) = gaps();
    assert_eq!(after, serde_json::json!([]));
    assert_eq!(
        [&evidence["kernel"], &evidence["firmware"], &evidence["date"], &evidence["link"]],
        ["7.3.4", "OP-TEE 4.9", "2026-11-30", "https://a.example/1"]
    );
}

#[test]
fn heaps_of_a_pattern_have_their_evidence() {
    let machine = Directory::machine("acme-b1-ambiguous");
    let found = json("evidence", &machine);
    assert_eq!(found["gpus"][0]["heaps"][0], "protected,*");
    let heaps = found["heaps"].as_array().unwrap();
    let heap = |name: &str| heaps.iter().find(|heap| heap["heap"] == name);
    assert_eq!(heap("protected,secure-video").unwrap()["evidence"]["status"], "documented");
    for present in found_heaps(&machine).iter().filter(|heap| heap.starts_with("protected,")) {
        assert_eq!(heap(present).unwrap()["present"], true, "{present}");
    }
    assert!(heap("protected,*").is_none());
}

fn found_heaps(machine: &Directory) -> Vec<String> {
    let heaps = fs::read_dir(machine.0.join("sys/class/dma_heap")).unwrap();
    heaps.map(|heap| heap.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn report_matches_the_golden_file() {
    let machine = machine_with_history();
    compare("report.txt", &run("report", &machine, &[]));
}

#[test]
fn report_has_the_judgement_of_the_last_run_and_the_options() {
    let found = json("report", &machine_with_history());
    let heaps = found["heaps"].as_array().unwrap();
    let heap = heaps.iter().find(|heap| heap["name"] == "protected,secure-video").unwrap();
    assert_eq!(
        heap["judgements"]["fb000000.gpu"],
        serde_json::json!({"verdict": "allocated", "protection": "tee", "exporter": "tee"})
    );
    let options = &found["options"];
    assert_eq!(
        [&options["CONFIG_OPTEE"], &options["CONFIG_DRM_PANTHOR"], &options["CONFIG_RUST"]],
        ["y", "m", "n"]
    );
    assert_eq!(found["socs"], serde_json::json!([{"id": "RK3588", "revision": "1.0"}]));
    assert_eq!(found["explain"]["kernel"]["release"], "7.3.4");
    assert_eq!(found["evidence"]["heaps"][0]["heap"], "protected,secure-video");
}

#[test]
fn report_contains_nothing_that_identifies_the_machine() {
    let machine = machine_with_history();
    let root = machine.0.to_str().unwrap().to_owned();
    for options in [&[][..], &["--json"]] {
        let output = protheapctl(&[&["report", "--root", &root], options].concat());
        let found = text(&output.stdout);
        assert!(found.contains("RK3588") && found.contains("7.3.4"), "{found}");
        for secret in ["471", "SERIAL", "abcd", "host-", "02:00", root.as_str()] {
            assert!(!found.contains(secret), "{secret}: {found}");
        }
    }
    // A relative path, which is a part of a word of the report.
    std::fs::rename(machine.0.join("sys"), machine.0.join("tree-sys")).unwrap();
    fs::create_dir_all(machine.0.join("tree")).unwrap();
    std::fs::rename(machine.0.join("tree-sys"), machine.0.join("tree/sys")).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_protheapctl"));
    let output = command.current_dir(&root).args(["report", "--root", "tree"]).output().unwrap();
    let found = text(&output.stdout);
    assert!(found.contains("  none: see /usr/lib/protheap/policies of the root\n"), "{found}");
    assert!(found.contains("create one with `protheapctl draft`"), "{found}");
    assert!(!found.contains(root.as_str()), "{found}");
}

#[test]
fn snippet_is_refused_until_it_is_filled_in() {
    let machine = machine_with_history();
    let snippet = json("report", &machine)["snippet"].as_str().unwrap().to_owned();
    assert!(snippet.contains("kernel = \"7.3.4\"\nfirmware = \"optee 4.8\"\n"), "{snippet}");
    let check = |snippet: &str| {
        let heaps = "[gpu.\"arm,mali-valhall-csf\"]\n\
            heaps = [{ name = \"protected,secure-video\" }]\n";
        write(&machine.0, "a,b.toml", &format!("schema = 1\n{heaps}{snippet}"));
        let output = protheapctl(&["check", machine.0.join("a,b.toml").to_str().unwrap()]);
        (output.status.code(), text(&output.stderr) + &text(&output.stdout))
    };
    let placeholders: Vec<_> = snippet.lines().filter(|line| line.contains("\"<")).collect();
    let keys: Vec<_> = placeholders.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(keys, ["status", "firewall", "date", "observer", "link"]);
    let values = ["tested", "documented", "2026-11-30", "Jane Doe", "https://a.example/1"];
    let filled_in = |except: Option<usize>| {
        let mut text = snippet.clone();
        for (index, (line, value)) in placeholders.iter().zip(values).enumerate() {
            if except != Some(index) {
                text = text.replace(line, &format!("{} = \"{value}\"", keys[index]));
            }
        }
        check(&text)
    };
    for (index, key) in keys.iter().enumerate() {
        let (code, said) = filled_in(Some(index));
        assert_eq!(code, Some(1), "{key}: {said}");
    }
    let (code, said) = filled_in(None);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("0 errors, 0 warnings"), "{said}");
}

#[test]
fn every_member_is_documented() {
    const DOCUMENT: &str = include_str!("../../../../docs/protheapctl.md");
    for command in ["evidence", "report"] {
        let title = format!("\n## `{command} --json`\n");
        let section = DOCUMENT.split(&title).nth(1).unwrap().split("\n## ").next().unwrap();
        let found = json(command, &machine_with_history());
        let heap = found["heaps"][0].as_object().unwrap();
        for member in found.as_object().unwrap().keys().chain(heap.keys()) {
            assert!(section.contains(&format!("`{member}`")), "{command}: {member}");
        }
    }
}

#[test]
fn report_without_a_heap_says_so() {
    let found = json("report", &Directory::machine("rk3588-rock-5b"));
    assert_eq!(found["snippet"], "# No candidate heap is present: there is nothing to test.\n");
    assert_eq!(found["options"], Value::Null);
}
