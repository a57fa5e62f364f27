// SPDX-License-Identifier: MIT OR Apache-2.0

use protheap_board::testing::Tree;

use super::super::DeviceTree;
use super::node;

#[test]
fn carve_outs_are_found_by_driver_allocator_or_name() {
    let region = |phandle: u32| node().cells("phandle", &[phandle]).cells("reg", &[0, 0, 0, 4096]);
    let regions = node()
        .bus(2, 2)
        .with("ranges", "")
        .child("mali-region@1000", region(1))
        .child("dsp@2000", region(2).with("no-map", "").with("compatible", "shared-dma-pool\0"))
        .child("pool@3000", region(3).with("reusable", "").with("compatible", "shared-dma-pool\0"))
        .child("secure@4000", region(4).with("no-map", ""))
        .child("secure@5000", region(5))
        .child("media@6000", region(6).with("compatible", "linaro,restricted-heap\0"));
    let allocator = |compatible: &str, region: u32| {
        node().with("compatible", compatible).cells("memory-region", &[region])
    };
    let root = node()
        .bus(2, 2)
        .child("reserved-memory", regions)
        .child("dsp", allocator("acme,dsp\0", 2))
        .child("pma", allocator("arm,protected-memory-allocator\0", 1))
        .child("svp", allocator("acme,svp-heap\0", 3));
    let tree = DeviceTree::of_blob(&root.blob()).unwrap();
    let found = tree.carve_outs();
    let shown: Vec<_> = found
        .iter()
        .map(|one| (&*one.name, one.bytes, one.allocator.as_ref().map(|of| &*of.device)))
        .collect();
    let size = Some(4096);
    assert_eq!(
        shown,
        [
            ("mali-region", size, Some("pma")),
            ("media", size, None),
            ("pool", size, Some("svp")),
            ("secure", size, None),
        ]
    );
    assert!(found[3].no_map && found[3].path.ends_with("secure@4000"));

    let directory = Tree::new();
    root.write(&directory, "sys/firmware/devicetree/base");
    let mut problems = Vec::new();
    let live = DeviceTree::of_root(&directory.root(), &mut problems);
    assert_eq!((live.carve_outs(), problems), (found, vec![]));
}
