// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests `protheapctl draft` on every machine in tests/boards.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../machine/mod.rs"]
mod machine;
mod transcripts;

use std::fs;

use machine::{Directory, protheapctl, repository, text};

/// Machines without a GPU that needs a policy, and the error message.
const WITHOUT: [(&str, &str); 2] = [
    ("rk3582-radxa-e52c", "is \"disabled\"; enable it"),
    ("tegra264-no-mali", "and needs no policy"),
];

#[test]
fn draft_of_every_machine_applies_without_warnings() {
    for name in machine::names() {
        let machine = Directory::machine(&name);
        let root = machine.0.to_str().unwrap();
        let output = protheapctl(&["draft", "--root", root]);
        let (draft, said) = (text(&output.stdout), text(&output.stderr));
        if let Some((_, why)) = WITHOUT.iter().find(|(without, _)| *without == name) {
            assert_eq!(output.status.code(), Some(1), "{name}");
            assert!(said.contains(why), "{name}: {said}");
            continue;
        }
        assert!(output.status.success(), "{name}: {said}");
        // The first line contains the path of the file.
        let path = draft.split_whitespace().find(|word| word.starts_with("/etc/")).unwrap();
        let path = machine.0.join(path.trim_matches(['/', ',']));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &draft).unwrap();
        let checked = protheapctl(&["check", path.to_str().unwrap()]);
        assert!(checked.status.success(), "{name}: {}\n{draft}", text(&checked.stdout));
        // If the image says never, there is a warning that the machine's policies do not count.
        let warnings = text(&checked.stdout).matches(": warning: ").count();
        let closings = text(&checked.stdout).matches("warning: ignored: ").count();
        let sealed = usize::from(name == "acme-a9-sealed");
        assert_eq!((warnings, closings), (sealed, sealed), "{name}: {}", text(&checked.stdout));
        let explained = protheapctl(&["explain", "--json", "--root", root]);
        let explained: serde_json::Value = serde_json::from_slice(&explained.stdout).unwrap();
        let applied = explained["policies"].as_array().unwrap();
        let is_draft = |file: &serde_json::Value| file["path"] == path.to_str().unwrap();
        let closed = ["acme-a9-locked", "acme-a9-sealed"].contains(&name.as_str());
        assert_eq!(applied.iter().any(is_draft), !closed, "{name}: {explained:#}");
    }
}

#[test]
fn draft_of_a_device_tree_matches_the_golden_file() {
    let directory = Directory::new("draft-dtb");
    let source = directory.0.join("board.dts");
    let tree = directory.0.join("board.dtb");
    let dts = "/dts-v1/;\n/ { compatible = \"acme,\\\"q\", \"acme,a9\"; model = \"A \\\"9\\\"\\n#\";\n\
         #address-cells = <1>; #size-cells = <1>;\n\
         gpu@1000 { compatible = \"arm,mali-valhall-csf\"; reg = <0x1000 0x10>; };\n\
         firmware { optee { compatible = \"linaro,optee-tz\"; }; };\n\
         reserved-memory { #address-cells = <1>; #size-cells = <1>; ranges;\n\
         svp@2000 { compatible = \"linaro,restricted-heap\"; reg = <0x2000 0x100>; };\n\
         linux,cma { compatible = \"shared-dma-pool\"; reusable; size = <0x1000>; }; }; };\n";
    fs::write(&source, dts).unwrap();
    let dtc = std::process::Command::new("dtc")
        .args(["-q", "-I", "dts", "-O", "dtb", "-o"])
        .args([&tree, &source])
        .status();
    if !dtc.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no dtc");
        return;
    }
    let output = protheapctl(&["draft", "--dtb", tree.to_str().unwrap()]);
    let draft = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let golden = repository().join("daemon/ctl/tests/golden/draft.toml");
    if std::env::var_os("PROTHEAP_RENEW").is_some() {
        fs::write(&golden, &draft).unwrap();
    }
    assert_eq!(draft, fs::read_to_string(golden).unwrap());
}

#[test]
fn draft_with_all_share_tables_is_valid() {
    let directory = Directory::new("draft-share");
    let path = directory.0.join("acme,board.toml");
    let mut tables = 0;
    for name in machine::names() {
        let machine = Directory::machine(&name);
        let output = protheapctl(&["draft", "--root", machine.0.to_str().unwrap()]);
        let uncomment = |line: &str| {
            let is_table = line.starts_with("# [share.") || line.starts_with("# secure-video = [");
            line.strip_prefix("# ").filter(|_| is_table).unwrap_or(line).to_owned() + "\n"
        };
        let draft: String = text(&output.stdout).lines().map(uncomment).collect();
        tables += draft.matches("\n[share.").count();
        if output.status.success() {
            fs::write(&path, &draft).unwrap();
            let checked = protheapctl(&["check", path.to_str().unwrap()]);
            assert!(checked.status.success(), "{name}: {}\n{draft}", text(&checked.stdout));
        }
    }
    assert!(tables > 5, "{tables}");
}

#[test]
fn draft_lists_a_heap_of_any_name_that_the_kernel_reports_as_protected() {
    let machine = Directory::machine("rk3588-rock-5b-optee");
    let heap = machine.0.join("sys/class/dma_heap/acme");
    fs::create_dir(&heap).unwrap();
    let draft = || text(&protheapctl(&["draft", "--root", machine.0.to_str().unwrap()]).stdout);
    assert!(draft().contains("#   acme: present, but no buffers"), "{}", draft());
    fs::write(heap.join("protected"), "0\n").unwrap();
    assert!(draft().contains("#   acme: present, but no buffers"), "{}", draft());
    fs::write(heap.join("protected"), "1\n").unwrap();
    assert!(draft().contains("# { name = \"acme\" }"), "{}", draft());
    assert!(draft().contains("the kernel reports it as protected"), "{}", draft());
}

#[test]
fn draft_of_a_running_board_sees_carve_outs() {
    let machine = Directory::machine("imx95-19x19-evk-linaro");
    fs::remove_dir_all(machine.0.join("etc")).unwrap();
    let draft = |machine: &Directory| {
        text(&protheapctl(&["draft", "--root", machine.0.to_str().unwrap()]).stdout)
    };
    let seen = "carve-out at /reserved-memory/secure@a0000000";
    let before = draft(&machine);
    assert!(before.contains(seen) && before.contains("\n  { name = \"secure\" },"), "{before}");
    let node = "sys/firmware/devicetree/base/reserved-memory/secure@a0000000";
    fs::remove_dir_all(machine.0.join(node)).unwrap();
    let after = draft(&machine);
    // The heap's name alone does not show that the GPU can use it.
    assert!(!after.contains(seen) && !after.contains("\n  { name = \"secure\" },"), "{after}");
    assert!(after.contains("# heaps = [{ name = \"secure\" }]"), "{after}");
}
