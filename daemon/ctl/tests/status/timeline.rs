// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests `protheapctl timeline`.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};

use crate::compare;
use crate::machine::{Directory, protheapctl, text};
use crate::scene::{GPU, HEAP, Scene, bound_by_binder};

fn timeline(scene: &Scene, arguments: &[&str]) -> Output {
    protheapctl(&[&["timeline", "--root", scene.root()], arguments].concat())
}

fn picture(scene: &Scene) -> String {
    let path = scene.path("picture.svg");
    let output = timeline(scene, &["--svg", path.to_str().unwrap()]);
    assert!(output.status.success() && output.stdout.is_empty(), "{}", text(&output.stderr));
    fs::read_to_string(path).unwrap()
}

/// Returns a boot with a late heap and an udev database.
fn boot() -> Scene {
    let scene = Scene::new("rk3588-rock-5b-optee", &[]);
    let heap = format!("dma_heap/{HEAP}");
    for (class, number, at) in [
        ("misc/protheap", "10:122", 1_100_250),
        ("tee/tee0", "243:0", 3_209_900),
        ("tee/teepriv0", "243:16", 1),
        (heap.as_str(), "250:2", 3_208_800),
        ("drm/renderD128", "226:128", 5_020_000),
        ("drm/renderD129", "226:129", 1),
        ("drm/card0", "226:0", 1),
    ] {
        scene.file(&format!("sys/class/{class}/dev"), &format!("{number}\n"));
        scene.file(&format!("run/udev/data/c{number}"), &format!("I:{at}\nG:seat\nQ:seat\nV:1\n"));
    }
    for (node, device) in [("renderD128", GPU), ("renderD129", "other"), ("card0", GPU)] {
        scene.link(&format!("sys/class/drm/{node}/device"), &format!("../../../{device}"));
    }
    scene
}

#[test]
fn timeline_of_a_boot_matches_the_golden_files() {
    let scene = boot();
    scene.state("protheap-bind", GPU, bound_by_binder(), json!({}));
    let shown = timeline(&scene, &[]);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    compare("timeline.txt", &text(&shown.stdout));
    let found: Value = serde_json::from_slice(&timeline(&scene, &["--json"]).stdout).unwrap();
    compare("timeline.json", &(serde_json::to_string_pretty(&found).unwrap() + "\n"));
    compare("timeline.svg", &picture(&scene));
}

#[test]
fn unknown_lanes_are_omitted_and_listed() {
    let scene = Scene::new("rk3588-rock-5b-optee", &[]);
    let shown = text(&timeline(&scene, &[]).stdout);
    assert_eq!(shown, "/run/protheap/state.json does not exist\n");
    let output = timeline(&scene, &["--svg", "/dev/null"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("nothing to draw: /run/protheap/state.json"));

    scene.state("protheapd", GPU, json!({"state": "failed", "reason": "heap-dead"}), json!({}));
    assert!(
        text(&timeline(&scene, &["--svg", "/dev/null"]).stderr).contains("no events are recorded")
    );
    let steps = json!([
        {"at_us": 1_000_000, "step": "in-use"},
        {"at_us": 999_000_000, "step": "withdrawn", "detail": "its TEE has gone"},
        {"at_us": 999_000_001, "step": "heap-dead"},
    ]);
    let gpu = json!({"state": "failed", "reason": "heap-dead", "timeline": steps});
    scene.state("protheapd", GPU, gpu, json!({}));
    let shown = text(&timeline(&scene, &[]).stdout);
    assert!(shown.contains("not recorded: modules tee heaps hold probe\n"), "{shown}");
    assert!(shown.contains(" 999000.001 ms  bind     heap-dead\n"), "{shown}");
    // The picture covers only the boot.
    let drawn = picture(&scene);
    assert!(drawn.contains("2 later steps"), "{drawn}");
    assert_eq!(drawn.matches("<circle").count(), 1);

    scene.file("run/protheap/state.json", "{\"schema\": 2}");
    let output = timeline(&scene, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("has schema 2"), "{}", text(&output.stderr));
}

#[test]
fn active_hold_has_no_end() {
    let scene = Scene(Directory::machine("rk3588-rock-5b-optee"));
    let steps = json!([{"at_us": 1_000_000, "step": "hold-started"}]);
    scene.state("protheap-bind", GPU, json!({"state": "waiting", "timeline": steps}), json!({}));
    let found: Value = serde_json::from_slice(&timeline(&scene, &["--json"]).stdout).unwrap();
    assert_eq!(found["gpus"][0]["hold"], json!({"from_us": 1_000_000, "to_us": null}));
    assert!(text(&timeline(&scene, &[]).stdout).contains("probe still held\n"));
    assert!(picture(&scene).contains("<rect x=\"90\""));
}

#[test]
fn unknown_words_in_state_json_are_rejected() {
    let scene = Scene::new("rk3588-rock-5b-optee", &[]);
    for (member, value) in [("reason", "\u{1b}[2J"), ("state", "bund"), ("heap", "../..")] {
        scene.state("protheapd", GPU, json!({member: value}), json!({}));
        let output = timeline(&scene, &[]);
        assert_eq!(output.status.code(), Some(1), "{member}");
        let error = text(&output.stderr);
        assert!(error.contains("failed to parse") && !error.contains('\u{1b}'), "{error}");
    }
}

#[test]
fn hostile_texts_and_times_are_drawn_safely() {
    let scene = Scene(Directory::machine("rk3588-rock-5b-optee"));
    let evil = "<script>&\"'\u{1b}\u{0}\u{ffff}".repeat(20);
    let steps = json!([
        {"at_us": 0, "step": "hold-started"},
        {"at_us": u64::MAX, "step": evil, "detail": evil},
        {"at_us": u64::MAX - 1, "step": evil, "detail": evil},
    ]);
    for (first, count) in [(0, 1), (u64::MAX, 3), (u64::MAX - 1_000_000, 3)] {
        let mut steps = steps.clone();
        steps[0]["at_us"] = json!(first);
        let gpu = json!({
            "state": "bound", "timeline": steps, "held_us": u64::MAX, "heap": HEAP,
        });
        scene.state("protheapd", GPU, gpu, json!({}));
        let drawn = picture(&scene);
        assert!(!drawn.contains("<script"), "{drawn}");
        // Steps that are far from the first one are not drawn.
        assert_eq!(drawn.contains("&lt;script&gt;&amp;"), count == 3, "{drawn}");
        assert!(!drawn.contains(|c: char| c.is_control() && c != '\n' || c == '\u{ffff}'));
        assert_eq!(drawn.matches("<circle").count(), count, "{first}");
        assert_eq!(drawn.matches('<').count(), drawn.matches('>').count());
        let shown = text(&timeline(&scene, &[]).stdout);
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
    }
}
