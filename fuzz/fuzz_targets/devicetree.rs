// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any bytes are refused as a device tree, or give nodes whose names can be shown and looked up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protheapctl::devicetree::DeviceTree;
use protheap_policy::name::Key;

fuzz_target!(|blob: &[u8]| {
    let tree = match DeviceTree::of_blob(blob) {
        Ok(tree) => tree,
        Err(error) => {
            let told = error.to_string();
            assert!(!told.contains(char::is_control), "{told:?}");
            return;
        }
    };
    let shown = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let (platform, _) = tree.platform();
    let wanted = ["arm,mali-valhall-csf", "linaro,optee-tz", "a"];
    for node in tree.nodes_compatible(&wanted) {
        assert!(node.path.starts_with('/') && shown(&node.path), "{node:?}");
        assert!(shown(&node.device) && !node.device.contains('/'), "{node:?}");
        assert!(shown(&node.status), "{node:?}");
        assert!(node.compatible.iter().any(|one| wanted.contains(&one.as_str())), "{node:?}");
        assert!(
            node.compatible.iter().chain(&platform.compatible).all(|one| Key::new(one).is_ok())
        );
    }
    for region in tree.reserved_memory() {
        assert!(region.path.starts_with("/reserved-memory/") && shown(&region.status));
    }
});
