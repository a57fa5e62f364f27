// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests `protheapctl explain` on every machine in tests/boards.

#![allow(clippy::unwrap_used, reason = "tests")]

mod machine;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Output;

use machine::{Directory, protheapctl, repository, text};
use protheap_policy::sanitize::is_hidden;

/// If set, tests write the expected output instead of comparing it.
const RENEW: &str = "PROTHEAP_RENEW";

fn explain(arguments: &[&str]) -> Output {
    protheapctl(&[&["explain"], arguments].concat())
}

/// Returns the JSON output for a machine, without the path of its directory.
fn json(machine: &Directory) -> String {
    let root = machine.0.to_str().unwrap();
    let output = explain(&["--root", root, "--json"]);
    assert!(output.status.success(), "{root}: {}", text(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    serde_json::to_string_pretty(&json).unwrap().replace(root, "") + "\n"
}

#[test]
fn explanation_of_every_machine_matches_the_golden_file() {
    let names = machine::names();
    assert!(names.len() >= 12, "{names:?}");
    let mut differ = Vec::new();
    for name in &names {
        let found = json(&Directory::machine(name));
        let path = repository().join("tests/boards").join(name).join("explain.json");
        if std::env::var_os(RENEW).is_some() {
            fs::write(path, found).unwrap();
        } else if fs::read_to_string(path).unwrap_or_default() != found {
            differ.push(format!("{name}: {found}"));
        }
    }
    assert!(
        differ.is_empty(),
        "not as explain.json says; `{RENEW}=1 cargo test -p protheapctl` writes them anew, for \
         `git diff` to show: {differ:#?}"
    );
}

/// Returns the error message of a failure, which is one line and contains `path`.
fn refused(arguments: &[&str], path: &str) -> String {
    let output = explain(arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    assert!(said.starts_with("protheapctl: ") && said.lines().count() == 1, "{said}");
    assert!(said.contains(path), "{said}");
    said
}

#[test]
fn invalid_device_tree_blob_is_rejected() {
    let directory = Directory::new("no-blob");
    let at = |name: &str| directory.0.join(name).to_str().unwrap().to_owned();
    let fifo = at("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
    fs::create_dir(at("directory")).unwrap();
    symlink("loop", at("loop")).unwrap();
    fs::write(at("text"), "schema = 1\n").unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::File::create(at("huge")).unwrap().set_len(100 << 20).unwrap();
    // A header of version 17 without any data.
    let header = [0xd00d_feed_u32, 4096, 56, 60, 40, 17, 16, 0, 4, 4];
    fs::write(at("cut"), header.map(u32::to_be_bytes).concat()).unwrap();
    for name in ["fifo", "directory", "loop", "text", "empty", "huge", "cut", "nothing"] {
        refused(&["--dtb", &at(name)], &at(name));
        refused(&["--dtb", &at(name), "--json"], &at(name));
    }
    assert!(refused(&["--dtb", &at("huge")], "huge").contains("is longer than 16777216 bytes"));
    for name in ["nothing", "text", "loop"] {
        refused(&["--root", &at(name)], &at(name));
    }
}

#[test]
fn unreadable_board_is_not_explained() {
    let compatible = "sys/firmware/devicetree/base/compatible";
    let board = Directory::machine("rk3588-rock-5b");
    fs::remove_file(board.0.join(compatible)).unwrap();
    fs::create_dir(board.0.join(compatible)).unwrap();
    refused(&["--root", board.0.to_str().unwrap()], compatible);
    fs::remove_dir(board.0.join(compatible)).unwrap();
    fs::write(board.0.join(compatible), "x\0".repeat(1 << 20)).unwrap();
    refused(&["--root", board.0.to_str().unwrap()], compatible);
}

#[test]
fn hostile_policies_are_reported_and_the_rest_is_explained() {
    let board = Directory::machine("rk3588-rock-5b-optee");
    let local = board.0.join("etc/protheap/policies");
    let drop_ins = local.join("rockchip,rk3588.toml.d");
    fs::create_dir_all(drop_ins.join("directory.toml")).unwrap();
    let fifo = drop_ins.join("fifo.toml");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
    symlink("loop.toml", drop_ins.join("loop.toml")).unwrap();
    symlink("/etc/../../../../../../nowhere", drop_ins.join("nowhere.toml")).unwrap();
    fs::File::create(drop_ins.join("huge.toml")).unwrap().set_len(100 << 20).unwrap();
    fs::write(drop_ins.join("binary.toml"), [0xff; 4096]).unwrap();
    fs::write(drop_ins.join("deep.toml"), format!("schema = 1\nx = {}", "[".repeat(60_000)))
        .unwrap();
    fs::write(drop_ins.join("escape.toml"), "schema = 1\n\"\\u001b[2J\" = 1\n").unwrap();
    symlink("/dev/null", drop_ins.join("masked.toml")).unwrap();
    let found: serde_json::Value = serde_json::from_str(&json(&board)).unwrap();
    let outcome = |name: &str| {
        let path = format!("/etc/protheap/policies/rockchip,rk3588.toml.d/{name}.toml");
        let all = found["considered"].as_array().unwrap();
        let file = all.iter().find(|file| file["path"] == path.as_str());
        let file = file.unwrap_or_else(|| panic!("{path} is not told"));
        assert_ne!(file["why"], "", "{path}");
        file["outcome"].as_str().unwrap().to_owned()
    };
    for name in ["directory", "fifo", "loop", "nowhere", "huge", "binary", "deep", "escape"] {
        assert_eq!(outcome(name), "refused", "{name}");
    }
    assert_eq!(outcome("masked"), "masked");
    assert_eq!(found["gpus"][0]["decision"], "protected,secure-video");
    let shown = explain(&["--root", board.0.to_str().unwrap()]).stdout;
    assert!(!text(&shown).contains(|c: char| c.is_control() && c != '\n'));
}

/// Another program rewrites a policy continuously. Each read yields the whole file or rejects it,
/// and affects no other file.
#[test]
fn policy_changed_during_read_affects_no_other() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    let board = Directory::machine("rk3588-rock-5b-optee");
    let local = board.0.join("etc/protheap/policies");
    fs::create_dir_all(&local).unwrap();
    let path = local.join("radxa,rock-5b.toml");
    let texts = [
        "schema = 1\n[gpu.\"arm,mali-valhall-csf\"]\nsuspend = { count = 3 }\n".to_owned(),
        format!("schema = 1\n# {}\n", "x".repeat(60_000)),
        "not TOML".to_owned(),
        String::new(),
    ];
    let done = Arc::new(AtomicBool::new(false));
    let writer = {
        let done = Arc::clone(&done);
        std::thread::spawn(move || {
            for text in texts.iter().cycle() {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                fs::write(&path, text).unwrap();
            }
        })
    };
    for _ in 0..50 {
        let found: serde_json::Value = serde_json::from_str(&json(&board)).unwrap();
        let gpu = &found["gpus"][0];
        assert_eq!(gpu["decision"], "protected,secure-video");
        let count = gpu["values"]["suspend_count"]["value"].as_u64().unwrap();
        assert!([3, 16].contains(&count), "{count}");
    }
    done.store(true, Ordering::Relaxed);
    writer.join().unwrap();
}

#[test]
fn gpu_with_a_disabled_node_is_never_bound() {
    let board = Directory::machine("rk3588-rock-5b-optee");
    let node = board.0.join("sys/firmware/devicetree/base/gpu@fb000000/status");
    fs::write(node, b"disabled\0").unwrap();
    let found: serde_json::Value = serde_json::from_str(&json(&board)).unwrap();
    let gpu = &found["gpus"][0];
    assert_eq!((&gpu["status"], &gpu["reason"]), (&"disabled".into(), &"disabled".into()));
    assert_eq!(
        (&gpu["heaps"], &gpu["decision"]),
        (&serde_json::json!([]), &serde_json::Value::Null)
    );
    assert_eq!(found["gpus"].as_array().unwrap().len(), 1);
}

/// A user who may not read a policy gets an error, because the result would differ from that of the
/// boot.
#[test]
fn unreadable_policy_is_an_error() {
    let board = Directory::machine("rk3588-rock-5b-optee");
    let local = board.0.join("etc/protheap/policies");
    fs::create_dir_all(&local).unwrap();
    fs::write(local.join("rockchip,rk3588.toml"), "schema = 1\n").unwrap();
    let as_nobody = || {
        std::process::Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(env!("CARGO_BIN_EXE_protheapctl"))
            .args(["explain", "--root", board.0.to_str().unwrap()])
            .output()
    };
    // Needs root, and a program that other users can run.
    if !as_nobody().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: another user cannot run this");
        return;
    }
    use std::os::unix::fs::PermissionsExt as _;
    for (path, mode) in [
        ("etc/protheap/policies/rockchip,rk3588.toml", 0o600),
        ("etc/protheap/policies", 0o700),
        ("etc/protheap", 0o700),
    ] {
        let path = board.0.join(path);
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let output = as_nobody().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", path.display());
        assert!(
            text(&output.stderr).contains("is not readable by this user"),
            "{}",
            text(&output.stderr)
        );
        fs::set_permissions(&path, before).unwrap();
    }
}

/// Returns the line of the text output with a GPU's decision.
fn decision(arguments: &[&str]) -> String {
    let shown = text(&explain(arguments).stdout);
    let line = shown.lines().find(|line| line.trim_start().starts_with("decision"));
    line.unwrap_or_else(|| panic!("{shown}")).trim_start().to_owned()
}

#[test]
fn reasons_state_only_known_facts() {
    let board = Directory::machine("rk3588-rock-5b-optee");
    let root = board.0.to_str().unwrap();
    let local = board.0.join("etc/protheap/policies");
    fs::create_dir_all(&local).unwrap();
    let policy = |heaps: &str| {
        let text = format!("schema = 1\n[gpu.\"arm,mali-valhall-csf\"]\nheaps = [{heaps}]\n");
        fs::write(local.join("radxa,rock-5b.toml"), text).unwrap();
        decision(&["--root", root])
    };
    assert!(policy("").contains("no-policy (a policy sets `heaps = []`"));
    let unmet = policy("{ name = \"protected,secure-video\", kernel = \">=99\" }");
    assert!(
        unmet.contains("no-heap (no heap is present whose conditions this machine meets"),
        "{unmet}"
    );
}

#[test]
fn explanation_of_a_blob_uses_only_its_contents() {
    let directory = Directory::machine("rk3588-rock-5b");
    let root = directory.0.to_str().unwrap();
    let tree = directory.0.join("board.dtb").to_str().unwrap().to_owned();
    let optee = "firmware { optee { compatible = \"linaro,optee-tz\"; }; };";
    let make = |nodes: &str| {
        let source = directory.0.join("board.dts");
        let gpu = "compatible = \"arm,mali-valhall-csf\"; reg = <0x4000 0x10>;";
        let dts = format!(
            "/dts-v1/; / {{ compatible = \"acme,a9\"; #address-cells = <1>; #size-cells = <1>;\n\
             gpu@4000 {{ {gpu} }}; {nodes}\n\
             bus {{ #address-cells = <1>; #size-cells = <1>; ranges;\n\
             gpu@4000 {{ {gpu} status = \"disabled\"; }}; }}; }};\n"
        );
        fs::write(&source, dts).unwrap();
        std::process::Command::new("dtc")
            .args(["-q", "-I", "dts", "-O", "dtb", "-o", &tree])
            .arg(&source)
            .status()
            .is_ok_and(|status| status.success())
    };
    if !make("") {
        eprintln!("skipped: there is no dtc");
        return;
    }
    let asked = ["--root", root, "--dtb", tree.as_str()];
    // Two nodes have the same device name. The kernel creates the device from the one that is okay.
    assert!(decision(&asked).contains("no-provider (no node in this device tree can provide one"));
    let found = text(&explain(&[&asked[..], &["--json"]].concat()).stdout);
    assert_eq!(found.matches("\"device\":\"4000.gpu\"").count(), 1, "{found}");
    assert!(make(optee));
    assert!(decision(&asked).contains("waiting (a device tree does not list heaps"));
    // A device tree does not show the chip either.
    let policy = "schema = 1\n[gpu.\"arm,mali-valhall-csf\"]\n\
                  heaps = [{ name = \"a\", soc-id = \"A9\", kernel = \">=7.3\" }]\n";
    fs::write(directory.0.join("usr/lib/protheap/policies/acme,a9.toml"), policy).unwrap();
    assert!(decision(&asked).contains("waiting (a device tree does not list heaps"));
}

/// Characters of each kind that a terminal interprets, or that change how text is displayed.
const HIDDEN: &str = "\u{9b}31m\u{1b}[2J\u{7f}\u{85}\u{ad}\u{61c}\u{200b}\u{200f}\u{2028}\u{2029}\u{202a}\
    \u{202e}\u{2060}\u{2066}\u{2069}\u{feff}\u{fff9}\u{e0041}\u{e007f}";

#[test]
fn output_has_no_control_or_hidden_characters() {
    let board = Directory::machine("rk3588-rock-5b");
    let root = board.0.to_str().unwrap();
    let model = board.0.join("sys/firmware/devicetree/base/model");
    fs::write(model, format!("M{HIDDEN}\0")).unwrap();
    let local = board.0.join("etc/protheap/policies");
    let drop_ins = local.join("rockchip,rk3588.toml.d");
    fs::create_dir_all(&drop_ins).unwrap();
    // A quoted line, a key, and names of files.
    let faulty = format!("schema = 1\nx = \"{HIDDEN}\" # {HIDDEN}\n");
    let key = format!("schema = 1\n[\"{}\"]\n", "\\u202E\\u200B\\u2066");
    let name = HIDDEN.replace(['\u{1b}', '[', '\u{7f}'], "");
    fs::write(drop_ins.join("a.toml"), faulty.replace(char::is_control, "")).unwrap();
    fs::write(drop_ins.join("b.toml"), key).unwrap();
    fs::write(drop_ins.join(format!("{name}.toml")), "x").unwrap();
    fs::write(local.join(format!("{name}.toml")), "x").unwrap();
    symlink(format!("/{name}"), drop_ins.join("link.toml")).unwrap();
    fs::create_dir_all(board.0.join(format!("sys/class/dma_heap/{name}"))).unwrap();
    let hidden = |text: &str| text.contains(|c| c != '\n' && is_hidden(c));
    for command in [
        &["explain", "--root", root][..],
        &["explain", "--root", root, "--json"],
        &["check", root],
        &["draft", "--root", root],
        &["explain", "--root", &format!("/nowhere{name}")],
        &["check", &format!("/nowhere{name}")],
        &["check", drop_ins.join("a.toml").to_str().unwrap()],
        &["check", "--json", drop_ins.join("a.toml").to_str().unwrap()],
        &["firmware", &format!("/nowhere{name}")],
    ] {
        let output = protheapctl(command);
        let (out, error) = (text(&output.stdout), text(&output.stderr));
        assert!(!out.is_empty() || !error.is_empty(), "{command:?}");
        assert!(!hidden(&out), "{command:?}: {out:?}");
        assert!(!hidden(&error), "{command:?}: {error:?}");
    }
    assert!(text(&protheapctl(&["explain", "--root", root]).stdout).contains("31m"));
}

const BOARD: &str = "etc/protheap/policies/fsl,imx95-19x19-evk.toml";

/// Returns an i.MX95 whose local policy has these lines, with a module that registers the heap
/// `secure`, and with a node of reserved memory for it.
fn board_with_a_heap_module(text: &str) -> Directory {
    let machine = Directory::machine("imx95-19x19-evk-linaro");
    let file = |path: &str, text: &str| {
        let path = machine.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    file(BOARD, &format!("schema = 1\n{text}\n"));
    fs::remove_dir_all(machine.0.join("lib/modules")).unwrap_or_default();
    fs::remove_dir_all(machine.0.join("usr/lib/modules")).unwrap_or_default();
    file("lib/modules/6.12.20/modules.dep", "kernel/drivers/restricted-heap.ko.zst:\n");
    let node = "sys/firmware/devicetree/base/reserved-memory/svp@a0000000";
    file(&format!("{node}/compatible"), "acme,restricted-heap\0");
    machine
}

fn value(machine: &Directory) -> serde_json::Value {
    serde_json::from_str(&json(machine)).unwrap()
}

#[test]
fn heap_of_a_module_is_awaited_until_the_module_is_loaded() {
    let heaps =
        "[gpu.'arm,mali-valhall-csf']\nheaps = [{ name = 'x', module = 'restricted_heap' }]";
    let machine = board_with_a_heap_module(heaps);
    let seen = || {
        let found = value(&machine);
        let outcome = found["gpus"][0]["candidates"][0]["outcome"].clone();
        (outcome, found["modules"].clone())
    };
    let module = |state: &str, finished: bool| serde_json::json!([{ "name": "restricted_heap", "state": state, "finished": finished }]);
    assert_eq!(seen(), ("awaited".into(), module("installed", false)));
    let printed = text(&explain(&["--root", machine.0.to_str().unwrap()]).stdout);
    assert!(printed.contains("module restricted_heap (installed, not loaded)"), "{printed}");
    let state = machine.0.join("sys/module/restricted_heap/initstate");
    fs::create_dir_all(state.parent().unwrap()).unwrap();
    fs::write(&state, "coming\n").unwrap();
    assert_eq!(seen(), ("awaited".into(), module("loading", false)));
    fs::write(&state, "live\n").unwrap();
    assert_eq!(seen(), ("absent".into(), module("loaded", true)));
    fs::remove_dir_all(state.parent().unwrap()).unwrap();
    fs::write(machine.0.join("lib/modules/6.12.20/modules.dep"), "").unwrap();
    assert_eq!(seen(), ("absent".into(), module("missing", true)));
    let notes = value(&machine)["notes"].clone();
    assert!(notes.as_array().unwrap().iter().any(|note| note["what"] == "no-such-module"));
}

#[test]
fn provider_that_is_no_device_is_noted_with_its_node() {
    let notes = |provider: &str| {
        let heaps = format!("heaps = [{{ name = 'x', provider = '{provider}' }}]");
        let share = "[share.'arm,mali-valhall-csf']\nsecure-video = ['x']";
        let text = format!("[gpu.'arm,mali-valhall-csf']\n{heaps}\n{share}");
        let notes = value(&board_with_a_heap_module(&text))["notes"].take();
        notes.as_array().unwrap().clone()
    };
    let [reserved] = &notes("acme,restricted-heap")[..] else { panic!("one note") };
    assert_eq!((&reserved["what"], &reserved["local"]), (&"no-such-provider".into(), &true.into()));
    assert_eq!(reserved["origin"], format!("/{BOARD}:3:10"));
    let message = reserved["message"].as_str().unwrap();
    assert!(message.contains("/reserved-memory/svp@a0000000"), "{message}");
    let [unknown] = &notes("acme,unknown")[..] else { panic!("one note") };
    let message = unknown["message"].as_str().unwrap();
    assert!(
        message.starts_with("no device on this machine has the compatible string"),
        "{message}"
    );
    assert_eq!(notes("linaro,optee-tz"), [] as [serde_json::Value; 0]);
}

#[test]
fn candidate_without_a_list_of_the_share_table_is_noted() {
    let heaps = "heaps = [{ name = 'x' }, { name = 'protected,secure-video' }]";
    let table = format!("[gpu.'arm,mali-valhall-csf']\n{heaps}");
    let share = "[share.'arm,mali-valhall-csf']\nsecure-video = ['protected,secure-video', 'x']";
    let notes = |text: &str| {
        let notes = value(&board_with_a_heap_module(text))["notes"].take();
        let notes = notes.as_array().unwrap().iter();
        notes.map(|note| note["what"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(notes(&table), ["not-shared"]);
    assert_eq!(notes(&format!("{table}\n{share}")), [""; 0]);
}
