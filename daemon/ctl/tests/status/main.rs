// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests `protheapctl status` on machines with the state that a run has left.

#![allow(clippy::unwrap_used, reason = "tests")]

mod document;
#[path = "../machine/mod.rs"]
mod machine;
mod scene;
mod timeline;

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};

use machine::{Directory, protheapctl, text};
use scene::{GPU, HEAP, ORIGIN, Scene, bound_by_binder, golden, has_heap};

/// If set, tests write the expected output instead of comparing it.
const RENEW: &str = "PROTHEAP_RENEW";

fn status(scene: &Scene, arguments: &[&str]) -> Output {
    protheapctl(&[&["status", "--root", scene.root()], arguments].concat())
}

fn status_json(scene: &Scene) -> Value {
    let output = status(scene, &["--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
}

/// Compares output with the golden file `name`, or writes that file.
fn compare(name: &str, found: &str) {
    let path = golden(name);
    if std::env::var_os(RENEW).is_some() {
        fs::write(path, found).unwrap();
        return;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert!(
        expected == found,
        "not as {name} says; `{RENEW}=1 cargo test -p protheapctl` writes it anew, for `git diff` \
         to show: {found}"
    );
}

/// Checks both forms of the status against the golden files, and the exit status.
fn expect(name: &str, scene: &Scene, code: i32) {
    let shown = status(scene, &[]);
    assert_eq!(shown.status.code(), Some(code), "{name}: {}", text(&shown.stderr));
    compare(&format!("{name}.txt"), &text(&shown.stdout).replace(scene.root(), ""));
    let json = serde_json::to_string_pretty(&status_json(scene)).unwrap() + "\n";
    compare(&format!("{name}.json"), &json.replace(scene.root(), ""));
}

#[test]
fn gpu_in_use_is_shown() {
    let scene = Scene::new("rk3588-rock-5b-optee", &["protheapd"]);
    let more = [("suspend_bytes", "98304"), ("suspend_free", "14"), ("suspend_in_use", "2")];
    scene.bound("in-use", &more);
    scene.driver("panthor");
    scene.usage("secure-video", HEAP);
    let mut gpu = has_heap("in-use");
    gpu["reason"] = json!("adopted");
    gpu["timeline"] = json!([{"at_us": 4_711_000, "step": "in-use"}]);
    scene.state("protheapd", GPU, gpu, json!({}));
    expect("in-use", &scene, 0);
}

#[test]
fn missing_suspend_buffers_have_a_reason() {
    let scene = Scene::new("rk3588-rock-5b-optee", &["protheapd"]);
    scene.bound("in-use", &[("suspend_free", "9"), ("suspend_in_use", "3")]);
    scene.driver("panthor");
    let mut gpu = has_heap("in-use");
    gpu["suspend_buffers"] = json!(12);
    let why = "failed to allocate 65536 bytes from /dev/dma_heap/protected,secure-video: \
               Cannot allocate memory (os error 12); enlarge the heap's memory";
    gpu["suspend_shortage"] = json!(why);
    scene.state("protheapd", GPU, gpu, json!({}));
    expect("fewer-buffers", &scene, 0);
    // The kernel has all of them in the meantime.
    scene.file(&format!("sys/kernel/config/protheap/{GPU}/suspend_free"), "13\n");
    assert_eq!(status_json(&scene)["gpus"][0]["suspend_shortage"], Value::Null);
}

#[test]
fn failed_provider_explains_the_missing_heap() {
    let scene = Scene::new("rk3588-rock-5b-no-firmware", &["protheapd"]);
    let gpu = json!({
        "reason": "no-heap",
        "timeline": [{"at_us": 1_204_113, "step": "no-heap"}],
    });
    scene.state("protheapd", GPU, gpu, json!({}));
    expect("failed-provider", &scene, 0);
}

#[test]
fn too_small_heap_has_its_sizes() {
    let scene = Scene::new("rk3588-rock-5b-optee", &["protheapd"]);
    scene.file("proc/meminfo", "MemTotal: 994724 kB\nCmaTotal: 65536 kB\nCmaFree: 128 kB\n");
    let why = "failed to allocate 262144 bytes from /dev/dma_heap/protected,secure-video: \
               Cannot allocate memory (os error 12); enlarge the heap's memory";
    let considered =
        json!([{"candidate": HEAP, "origin": ORIGIN, "outcome": "too-small", "detail": why}]);
    let gpu = json!({
        "state": "failed", "reason": "heap-too-small", "heap": HEAP, "firmware_bytes": 262_144,
        "considered": considered,
    });
    scene.state("protheapd", GPU, gpu, json!({}));
    let found = status_json(&scene);
    let obstacles = found["obstacles"].as_array().unwrap();
    let small = obstacles.iter().find(|one| one["what"] == "heap-too-small").unwrap();
    let message = small["message"].as_str().unwrap();
    assert!(message.contains("262144 bytes"), "{message}");
    assert!(message.contains("CMA has 128 of 65536 KiB free"), "{message}");
}

#[test]
fn kernel_state_overrides_the_state_file_of_the_binder() {
    let scene = Scene::new("rk3588-rock-5b-optee", &[]);
    scene.bound("in-use", &[]);
    scene.driver("panthor");
    scene.state("protheap-bind", GPU, bound_by_binder(), json!({}));
    expect("binder-ended", &scene, 0);
}

#[test]
fn pending_state_counts_only_while_the_binder_runs() {
    let scene = Scene::new("rk3588s-orangepi-5-initrd", &["protheap-bind"]);
    scene.binding(&[("state", "held"), ("firmware_bytes", "0")]);
    scene.state("protheap-bind", GPU, json!({"state": "waiting"}), json!({}));
    expect("waiting", &scene, 0);

    let scene = Scene::new("rk3588s-orangepi-5-initrd", &[]);
    scene.binding(&[("state", "held")]);
    scene.state("protheap-bind", GPU, json!({"state": "waiting"}), json!({}));
    let found = status_json(&scene);
    assert_eq!(found["gpus"][0]["state"], "held");
    scene.file(&format!("sys/kernel/config/protheap/{GPU}/state"), "open\n");
    scene.file(&format!("sys/kernel/config/protheap/{GPU}/reason"), "heap-late\n");
    let gpu = &status_json(&scene)["gpus"][0];
    assert_eq!(
        (&gpu["state"], &gpu["reason"], &gpu["from"]),
        (&json!("unprotected"), &json!("heap-late"), &json!("kernel"))
    );
    // A program of this name that another user runs is not the binder.
    scene.file(&format!("sys/kernel/config/protheap/{GPU}/state"), "held\n");
    scene.process(20, "protheap-bind", 1000);
    assert_eq!(status_json(&scene)["gpus"][0]["state"], "held");
}

#[test]
fn binding_withdrawn_after_the_daemon_is_not_bound() {
    let scene = Scene::new("rk3588-rock-5b-optee", &[]);
    scene.file("sys/module/protheap/refcnt", "1\n");
    scene.usage("secure-video", "acme_gone");
    let mut gpu = has_heap("bound");
    gpu["reason"] = json!("adopted");
    scene.state("protheapd", GPU, gpu, json!({}));
    expect("withdrawn", &scene, 0);
}

#[test]
fn next_binding_and_rejected_files_are_shown() {
    let scene = Scene::new("rk3588-turing-rk1-two-heaps", &["protheapd"]);
    let wrong = "schema = 1\n[gpu.\"arm,mali-valhall-csf\"]\nsuspend = { cuont = 3 }\n";
    let at = "etc/protheap/policies/rockchip,rk3588.toml.d/10-count.toml";
    scene.file(at, wrong);
    scene.bound("in-use", &[("suspend_free", "15"), ("suspend_in_use", "1")]);
    scene.driver("panthor");
    scene.usage("secure-video", HEAP);
    let mut gpu = has_heap("in-use");
    gpu["reason"] = json!("adopted");
    gpu["next"] = json!({"heap": "protected,trusted-ui", "policy": "turing,rk1", "reason": ""});
    let path = format!("{}/{at}", scene.root());
    let fault = json!({
        "path": path, "line": 3, "column": 13, "message": "unknown key `cuont`", "kept": true,
    });
    scene.state("protheapd", GPU, gpu, json!({"refused": [fault]}));
    expect("better-heap", &scene, 0);

    // Without the daemon, the current policies are shown.
    fs::remove_dir_all(scene.path("proc/2")).unwrap();
    let found = status_json(&scene);
    assert_eq!(
        (&found["gpus"][0]["next"], &found["refused"][0]["kept"]),
        (&Value::Null, &json!(false))
    );
    scene.file(
        "etc/protheap/policies/turing,rk1.toml",
        "schema = 1\n[gpu.\"arm,mali-valhall-csf\"]\nheaps = [{ name = \"protected,trusted-ui\" }]\n",
    );
    let next = json!({"heap": "protected,trusted-ui", "policy": "turing,rk1", "reason": ""});
    assert_eq!(status_json(&scene)["gpus"][0]["next"], next);
}

#[test]
fn unpatched_driver_and_missing_heaps_are_obstacles() {
    let scene = Scene::new("imx952-evk", &["protheapd"]);
    let config = "CONFIG_DMABUF_HEAPS=y\nCONFIG_OPTEE=m\n# CONFIG_TEE_DMABUF_HEAPS is not set\n";
    scene.file("boot/config-7.3.4", config);
    let gpu = json!({
        "state": "unprotected", "reason": "no-consumer",
        "timeline": [{"at_us": 5_100_250, "step": "no-consumer"}],
    });
    scene.state("protheapd", "4d900000.gpu", gpu, json!({}));
    let driver = "../../../../bus/platform/drivers/panthor";
    scene.link("sys/devices/platform/soc/4d900000.gpu/driver", driver);
    expect("unpatched-driver", &scene, 0);
}

#[test]
fn missing_module_and_its_options_are_obstacles() {
    let scene = Scene::new("rk3588s-khadas-edge2-unpatched", &["protheapd"]);
    let options = "CONFIG_DMABUF_HEAPS=y\n# CONFIG_CONFIGFS_FS is not set\nCONFIG_RUST=y\n";
    scene.file("boot/config-7.3.4+deb13-arm64", options);
    expect("no-module", &scene, 0);
    scene.file("lib/modules/7.3.4+deb13-arm64/modules.dep", "updates/dkms/protheap.ko.xz:\n");
    let what = |scene: &Scene| status_json(scene)["obstacles"][0]["what"].clone();
    assert_eq!(what(&scene), "module-not-loaded");
    scene.file("sys/module/protheap/refcnt", "1\n");
    assert_eq!(what(&scene), "configfs-not-mounted");
    let found = status_json(&scene);
    assert_eq!((&found["delivery"], &found["gpus"][0]["state"]), (&Value::Null, &Value::Null));
}

#[test]
fn failed_gpu_sets_the_exit_status() {
    let scene = Scene::new("rk3588-rock-5b-optee", &["protheapd"]);
    scene.binding(&[("reason", "already-probed"), ("firmware_bytes", "0")]);
    scene.driver("panthor");
    let gpu = json!({
        "driver": "panthor", "state": "failed", "reason": "heap-dead", "heap": HEAP,
        "policy": "rockchip,rk3588", "firmware_bytes": 262_144,
        "timeline": [
            {"at_us": 9_000_000, "step": "withdrawn", "detail": "its TEE has gone"},
            {"at_us": 9_000_001, "step": "heap-dead"},
        ],
    });
    scene.state("protheapd", GPU, gpu, json!({}));
    expect("heap-dead", &scene, 1);
}

#[test]
fn heap_in_the_panthor_parameter_is_shown() {
    let scene = Scene::new("rk3588s-khadas-edge2-unpatched", &[]);
    scene.file("sys/module/panthor/parameters/protected_heap_name", &format!("{HEAP}\n"));
    let mut gpu = bound_by_binder();
    gpu["held_us"] = json!(0);
    scene.state("protheap-bind", GPU, gpu, json!({"delivery": "panthor-parameter"}));
    expect("parameter", &scene, 0);
    // The parameter was changed since.
    scene.file("sys/module/panthor/parameters/protected_heap_name", "acme_svp\n");
    let gpu = &status_json(&scene)["gpus"][0];
    assert_eq!((&gpu["heap"], &gpu["reason"]), (&json!("acme_svp"), &json!("adopted")));
    assert_eq!((&gpu["policy"], &gpu["protection"]), (&Value::Null, &Value::Null));
    // Another driver does not use the parameter.
    fs::remove_file(scene.path(&format!("sys/devices/platform/{GPU}/driver"))).unwrap();
    scene.driver("tyr");
    assert_eq!(status_json(&scene)["gpus"][0]["state"], "unprotected");
}

#[test]
fn buffer_that_was_set_by_ioctl_is_shown() {
    let scene = Scene::new("rk3588s-khadas-edge2-unpatched", &["protheapd"]);
    let mut gpu = has_heap("in-use");
    let timeline = json!([{"at_us": 4_711_000, "step": "in-use"}]);
    for (member, value) in [
        ("delivery", json!("ioctl")),
        ("policy", json!("rockchip,rk3588")),
        ("suspend_count", Value::Null),
        ("timeline", timeline),
    ] {
        gpu[member] = value;
    }
    scene.state("protheapd", GPU, gpu.clone(), json!({"delivery": "ioctl"}));
    expect("ioctl", &scene, 0);
    // The driver was unbound since: the delivery is that of the kernel.
    fs::remove_file(scene.path(&format!("sys/devices/platform/{GPU}/driver"))).unwrap();
    assert_eq!(status_json(&scene)["delivery"], "none");
}

#[test]
fn every_machine_has_a_status_before_the_first_run() {
    for name in machine::names() {
        let scene = Scene(Directory::machine(&name));
        let shown = status(&scene, &[]);
        assert_eq!(shown.status.code(), Some(0), "{name}: {}", text(&shown.stderr));
        let found = status_json(&scene);
        let count = found["gpus"].as_array().unwrap().len();
        assert_eq!(text(&shown.stdout).matches("─ GPU ").count(), count, "{name}");
        for gpu in found["gpus"].as_array().unwrap() {
            assert_eq!(gpu["heap"], Value::Null, "{name}");
            assert!(["unprotected", "absent"].contains(&gpu["state"].as_str().unwrap()), "{name}");
        }
    }
}

#[test]
fn status_is_the_default_command() {
    let scene = Scene::new("rk3588-rock-5b-optee", &[]);
    for arguments in [&["--json"][..], &[]] {
        let all = [&["--root", scene.root()], arguments].concat();
        assert_eq!(protheapctl(&all).stdout, status(&scene, arguments).stdout);
    }
    let output = protheapctl(&["--json", "explain"]);
    assert_eq!(output.status.code(), Some(2));
}

/// The kernel's state is unreadable, because a directory replaces an attribute.
#[test]
fn unreadable_state_is_unknown() {
    let scene = Scene::new("rk3588-rock-5b-optee", &[]);
    fs::create_dir_all(scene.path(&format!("sys/kernel/config/protheap/{GPU}/state"))).unwrap();
    let gpu = &status_json(&scene)["gpus"][0];
    assert_eq!((&gpu["state"], &gpu["reason"]), (&Value::Null, &Value::Null));
    let shown = text(&status(&scene, &[]).stdout);
    let line = "state       unknown: not in state.json, and ";
    assert!(shown.contains(line) && shown.contains("Is a directory"), "{shown}");

    // The state of a run that has ended is all that is known, and its source is shown.
    scene.state("protheap-bind", GPU, bound_by_binder(), json!({}));
    let found = status_json(&scene);
    let gpu = &found["gpus"][0];
    assert_eq!((&gpu["state"], &gpu["from"]), (&json!("bound"), &json!("state.json")));
    let unknown = found["unknown"].to_string();
    assert!(unknown.contains("/gpus/0/suspend_free"), "{unknown}");
    let shown = text(&status(&scene, &[]).stdout);
    assert!(shown.contains("which has exited: the contents may be outdated"), "{shown}");

    // It is unknown whether the program is running.
    fs::remove_file(scene.path("proc/self/ns/pid")).unwrap();
    assert_eq!(status_json(&scene)["writer"]["running"], Value::Null);
    assert!(text(&status(&scene, &[]).stdout).contains("which may have exited"));
    scene.file("run/protheap/state.json", "{");
    let unknown = status_json(&scene)["unknown"].to_string();
    assert!(unknown.contains("\"/writer\"") && unknown.contains("failed to parse"), "{unknown}");
}

/// An ordinary user may not read the kernel's attributes and some policies.
#[test]
fn unprivileged_user_sees_which_members_are_unknown() {
    use std::os::unix::fs::PermissionsExt as _;
    let scene = Scene::new("rk3588-rock-5b-optee", &["protheapd"]);
    scene.bound("in-use", &[]);
    scene.driver("panthor");
    scene.state("protheapd", GPU, has_heap("in-use"), json!({}));
    scene.file("etc/protheap/policies/radxa,rock-5b.toml", "schema = 1\n");
    let command_as_nobody = |command: &str, arguments: &[&str]| {
        Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(env!("CARGO_BIN_EXE_protheapctl"))
            .args([command, "--root", scene.root()])
            .args(arguments)
            .output()
    };
    let as_nobody = |arguments: &[&str]| command_as_nobody("status", arguments);
    // Needs root, and a program that other users can run.
    if !as_nobody(&[]).is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: another user cannot run this");
        return;
    }
    let close = |path: &str| {
        fs::set_permissions(scene.path(path), fs::Permissions::from_mode(0o660)).unwrap();
    };
    let module = "sys/kernel/config/protheap";
    for entry in fs::read_dir(scene.path(&format!("{module}/{GPU}"))).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        close(&format!("{module}/{GPU}/{name}"));
    }
    close(&format!("{module}/abi"));
    close(&format!("{module}/can_allocate"));
    // The module counts as loaded.
    let explained = command_as_nobody("explain", &["--json"]).unwrap().stdout;
    let explained: Value = serde_json::from_slice(&explained).unwrap();
    assert_eq!(explained["gpus"][0]["decision"], HEAP);
    close("etc/protheap/policies/radxa,rock-5b.toml");
    let found: Value = serde_json::from_slice(&as_nobody(&["--json"]).unwrap().stdout).unwrap();
    let gpu = &found["gpus"][0];
    assert_eq!((&gpu["state"], &gpu["from"]), (&json!("in-use"), &json!("state.json")));
    assert_eq!((&found["delivery"], &found["policies"]), (&json!("module"), &Value::Null));
    assert_eq!((&found["refused"], &found["obstacles"]), (&json!([]), &json!([])));
    let unknown = found["unknown"].as_array().unwrap();
    let members: Vec<_> = unknown.iter().map(|one| one["member"].as_str().unwrap()).collect();
    let free = "/gpus/0/suspend_free";
    assert!(members.contains(&free) && members.contains(&"/policies"), "{members:?}");
    let shown = text(&as_nobody(&[]).unwrap().stdout);
    assert!(shown.contains("number in use unknown"), "{shown}");
}

#[test]
fn output_has_no_control_characters() {
    let scene = Scene::new("rk3588-rock-5b-optee", &[]);
    let evil = "\u{1b}[2J\u{9b}31m\u{7f}";
    let mut gpu = bound_by_binder();
    for member in ["state", "reason", "heap", "protection", "exporter", "policy"] {
        gpu[member] = json!(evil);
    }
    gpu["next"] = json!({"heap": evil, "policy": evil, "reason": evil});
    let refused = json!({"path": evil, "line": 1, "column": 1, "message": evil, "kept": true});
    let other = json!({"written_by": evil, "refused": [refused]});
    scene.state("protheapd", GPU, gpu, other);
    scene.usage(evil, evil);
    scene.binding(&[("state", evil), ("origin", evil), ("exporter", evil), ("reason", evil)]);
    for arguments in [&["--json"][..], &[]] {
        let shown = text(&status(&scene, arguments).stdout);
        assert!(shown.contains("31m"), "{shown:?}");
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
    }
}

#[test]
fn colours_need_a_terminal_that_supports_them() {
    use std::io::Read as _;
    use std::process::Stdio;

    let scene = Scene::new("rk3588-rock-5b-optee", &[]);
    let on_terminal = |set: &[(&str, &str)]| {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        let end = || Stdio::from(fs::OpenOptions::new().write(true).open(&name).unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_protheapctl"));
        command.args(["--root", scene.root()]).env("TERM", "xterm").env_remove("NO_COLOR");
        let status = command.envs(set.iter().copied()).stdout(end()).status().unwrap();
        assert!(status.success());
        // The buffer is longer than the output, which the terminal keeps until it is read.
        let mut shown = vec![0; 1 << 16];
        let length = fs::File::from(terminal).read(&mut shown).unwrap();
        shown.truncate(length);
        shown.contains(&0x1b)
    };
    assert!(on_terminal(&[]));
    assert!(on_terminal(&[("NO_COLOR", "")]));
    assert!(!on_terminal(&[("NO_COLOR", "1")]));
    assert!(!on_terminal(&[("TERM", "dumb")]));
    assert!(!status(&scene, &[]).stdout.contains(&0x1b));
}

#[test]
fn list_has_a_line_per_heap_and_gpu() {
    let scene = Scene::new("rk3588-turing-rk1-two-heaps", &[]);
    for (heap, protected) in [(HEAP, "1\n"), ("protected,trusted-ui", "1\n"), ("system", "0\n")] {
        scene.file(&format!("sys/class/dma_heap/{heap}/protected"), protected);
    }
    scene.bound("in-use", &[]);
    scene.state("protheap-bind", GPU, bound_by_binder(), json!({}));
    let list = |arguments: &[&str]| {
        protheapctl(&[&["list", "--root", scene.root()], arguments].concat()).stdout
    };
    assert_eq!(
        text(&list(&[])),
        "heap  protected,secure-video  tee          fb000000.gpu secure-video\n\
         heap  protected,trusted-ui    declared\n\
         heap  system                  unknown\n\
         gpu   fb000000.gpu            in-use       protected,secure-video\n"
    );
    let found: Value = serde_json::from_slice(&list(&["--json"])).unwrap();
    compare("list.json", &(serde_json::to_string_pretty(&found).unwrap() + "\n"));
}

#[test]
fn policies_find_a_heap_without_the_service() {
    let scene = Scene::new("rk3588-rock-5b-optee", &[]);
    scene.state("protheap-bind", GPU, bound_by_binder(), json!({}));
    let gpu = format!("devices/platform/{GPU}");
    scene.link("sys/dev/char/226:128", &format!("../../{gpu}/drm/renderD128"));
    scene.link(&format!("sys/{gpu}/drm/renderD128/subsystem"), "../../../../../class/drm");
    scene.link(&format!("sys/{gpu}/subsystem"), "../../../bus/platform");
    let find = |arguments: &[&str]| {
        protheapctl(&[&["find-heap", "--root", scene.root()], arguments].concat())
    };
    let found = find(&["secure-video", "226:128", "--json"]);
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    compare("find-heap.json", &(serde_json::to_string_pretty(&found).unwrap() + "\n"));
    let shown = text(&find(&["secure-video", "226:128"]).stdout);
    assert!(shown.contains(&format!("node        /dev/dma_heap/{HEAP}\n")), "{shown}");
    assert!(shown.contains("from the policies and the present heaps"), "{shown}");

    let refused = find(&["secure-video", "226:128", "81:0"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("no policy describes 81:0"),
        "{}",
        text(&refused.stderr)
    );
    let shown = text(&find(&["secure-video", "226:128", "81:0", "--allow-unknown"]).stdout);
    assert!(shown.contains("ignored     81:0"), "{shown}");
    assert_eq!(find(&["secure-video"]).status.code(), Some(2));
}
