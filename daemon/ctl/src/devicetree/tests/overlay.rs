// SPDX-License-Identifier: MIT OR Apache-2.0

use std::path::PathBuf;

use protheap_board::testing::Tree;

use super::super::{DeviceTree, OKAY, overlay};
use super::{GPU, node};

#[test]
fn overlays_are_applied_in_their_order() {
    let directory = Tree::new();
    let fragment = |status: &str| {
        let gpu = node().with("status", status);
        let content = node().child("__overlay__", node().child("gpu@5", gpu));
        node().child("fragment@0", content.with("target-path", "/\0"))
    };
    directory.file("off.dtbo", fragment("disabled\0").blob());
    directory.file("on.dtbo", fragment("okay\0").blob());
    let overlay = |name: &str| directory.path(name);
    let base =
        node().bus(1, 1).child("gpu@5", node().with("compatible", GPU).cells("reg", &[5, 1]));
    let apply = |overlays: &[PathBuf]| {
        overlay::apply(overlay::PROGRAM, base.blob(), overlays).map(|blob| {
            let tree = DeviceTree::of_blob(&blob).unwrap();
            tree.nodes_compatible(&["arm,mali-valhall-csf"]).next().unwrap().status
        })
    };
    let missing = overlay::apply("fdtoverlay-is-missing", base.blob(), &[overlay("on.dtbo")]);
    let missing = missing.unwrap_err().to_string();
    assert!(missing.contains("device-tree-compiler"), "{missing}");
    // Not found before the program is started.
    let nothing = apply(&[overlay("nothing.dtbo")]).unwrap_err().to_string();
    assert!(nothing.contains("nothing.dtbo"), "{nothing}");
    if std::process::Command::new(overlay::PROGRAM).arg("--version").output().is_err() {
        eprintln!("skipped: {} is not installed", overlay::PROGRAM);
        return;
    }
    assert_eq!(apply(&[overlay("off.dtbo")]).unwrap(), "disabled");
    assert_eq!(apply(&[overlay("off.dtbo"), overlay("on.dtbo")]).unwrap(), OKAY);
    directory.file("bad.dtbo", "no overlay");
    let bad = apply(&[overlay("bad.dtbo")]).unwrap_err().to_string();
    assert!(bad.contains("fdtoverlay failed to apply"), "{bad}");
    // The base has no label of this name.
    let fixups = node().with("nowhere", "/fragment@0:target:0\0");
    let content = node().child("__overlay__", node()).cells("target", &[u32::MAX]);
    let labelled = node().child("fragment@0", content).child("__fixups__", fixups);
    directory.file("label.dtbo", labelled.blob());
    let label = apply(&[overlay("label.dtbo")]).unwrap_err().to_string();
    assert!(label.contains("dtc -@"), "{label}");
}
