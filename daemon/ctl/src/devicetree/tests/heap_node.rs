// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;

/// Returns an NXP board: Arm's allocator with its memory, a carve-out of Linaro's driver, one that
/// is disabled, and one that no driver is known for.
fn board(root: &str) -> Source {
    let region = |compatible: &str| node().with("compatible", compatible).with("no-map", "");
    let at = |region: Source, address: u32| region.cells("reg", &[0, address, 0, 0x100_0000]);
    let reserved = node()
        .bus(2, 2)
        .with("ranges", "")
        .child("acme-svp@90000000", at(region("acme,svp\0"), 0x9000_0000))
        .child(
            "gpu-protected@a0000000",
            at(region("mali-reserved\0"), 0xa000_0000).cells("phandle", &[7]),
        )
        .child("optee@b0000000", at(region("acme,optee\0"), 0xb000_0000))
        .child("secure@c0000000", at(region("linaro,secure-heap\0"), 0xc000_0000))
        .child(
            "spare@d0000000",
            at(region("linaro,restricted-heap\0"), 0xd000_0000).with("status", "disabled\0"),
        );
    let allocator = node()
        .with("compatible", "arm,protected-memory-allocator\0")
        .cells("memory-region", &[7, 9]);
    node()
        .bus(2, 2)
        .with("compatible", root)
        .child("acme-heap", node().with("compatible", "acme,a9-svp-heap\0"))
        .child("protected-memory-allocator", allocator)
        .child("reserved-memory", reserved)
}

/// Returns the path, the heap and the memory's size of each node.
fn found(source: &Source) -> Vec<(String, Option<String>, Option<u64>)> {
    let nodes = DeviceTree::of_blob(&source.blob()).unwrap().heap_nodes();
    let of =
        |node: HeapNode| (node.path, node.heap, node.carve_out.and_then(|memory| memory.bytes));
    nodes.into_iter().map(of).collect()
}

#[test]
fn heap_nodes_have_their_heaps_and_memory() {
    let size = Some(0x100_0000);
    let name = |name: &str| Some(name.to_owned());
    let mut expected = vec![
        ("/acme-heap".to_owned(), None, None),
        ("/protected-memory-allocator".to_owned(), name("protected"), size),
        ("/reserved-memory/acme-svp@90000000".to_owned(), None, size),
        ("/reserved-memory/secure@c0000000".to_owned(), name("secure"), size),
        ("/reserved-memory/spare@d0000000".to_owned(), name("spare"), size),
    ];
    assert_eq!(found(&board("acme,carrier\0fsl,imx95\0")), expected);
    // Only NXP's kernels have a heap for Arm's allocator.
    expected[1].1 = None;
    assert_eq!(found(&board("acme,carrier\0acme,a9\0")), expected);
}

#[test]
fn reserved_memory_is_no_provider() {
    let nodes = DeviceTree::of_blob(&board("acme,a9\0").blob()).unwrap().heap_nodes();
    let providers = nodes.iter().filter_map(|node| node.provider.as_deref());
    let expected = ["acme,a9-svp-heap", "arm,protected-memory-allocator"];
    assert_eq!(providers.collect::<Vec<_>>(), expected);
    let disabled = nodes.iter().filter(|node| !node.is_okay()).map(|node| node.path.as_str());
    assert_eq!(disabled.collect::<Vec<_>>(), ["/reserved-memory/spare@d0000000"]);
}

#[test]
fn heap_of_a_region_is_that_of_its_allocator() {
    let svp = node()
        .with("compatible", "mediatek,dynamic-restricted-region\0")
        .cells("reg", &[0, 0xa300_0000, 0, 0x1000])
        .cells("phandle", &[3]);
    let heap = node().with("compatible", "mediatek,secure-heap\0").cells("memory-region", &[3]);
    let board = node()
        .bus(2, 2)
        .child("firmware", node().child("mtk-svp-heap", heap))
        .child("reserved-memory", node().bus(2, 2).with("ranges", "").child("svp@a3000000", svp));
    let nodes = DeviceTree::of_blob(&board.blob()).unwrap().heap_nodes();
    let [node] = nodes.as_slice() else { panic!("{nodes:?}") };
    assert_eq!((node.path.as_str(), node.is_video), ("/firmware/mtk-svp-heap", true));
    assert_eq!(node.heap.as_deref(), Some("restricted_mtk_cma"));
    assert_eq!(node.provider.as_deref(), Some("mediatek,secure-heap"));
}

#[test]
fn many_heap_nodes_take_bounded_time() {
    let start = cpu_time();
    let mut blob = Blob::default();
    blob.begin("");
    blob.strings = b"compatible\0phandle\0memory-region\0".to_vec();
    for number in 0..50_000_u32 {
        blob.begin("n");
        blob.property_at(0, b"acme,secure-heap\0");
        blob.property_at(11, &number.to_be_bytes());
        blob.property_at(19, &(49_999 - number).to_be_bytes());
        blob.cell(2);
    }
    blob.cell(2);
    let tree = DeviceTree::of_blob(&blob.finish()).unwrap();
    assert_eq!(tree.heap_nodes().len(), 100);
    let took = cpu_time() - start;
    assert!(took < Duration::from_secs(60), "{took:?}");
}
