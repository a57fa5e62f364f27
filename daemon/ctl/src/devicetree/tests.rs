// SPDX-License-Identifier: MIT OR Apache-2.0

mod carve_out;
mod heap_node;
mod media;
mod overlay;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use protheap_board::testing::Tree;

/// A node of a test's tree. Its children are sorted, as in a directory.
#[derive(Debug, Clone, Default)]
struct Source {
    properties: Vec<(&'static str, Vec<u8>)>,
    children: BTreeMap<String, Source>,
}

impl Source {
    fn with(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.properties.push((name, value.as_ref().to_vec()));
        self
    }

    fn cells(self, name: &'static str, cells: &[u32]) -> Self {
        let value: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.with(name, value)
    }

    fn child(mut self, name: &str, child: Source) -> Self {
        self.children.insert(name.to_owned(), child);
        self
    }

    fn bus(self, address_cells: u32, size_cells: u32) -> Self {
        self.cells("#address-cells", &[address_cells]).cells("#size-cells", &[size_cells])
    }

    fn blob(&self) -> Vec<u8> {
        let mut blob = Blob::default();
        blob.node("", self);
        blob.finish()
    }

    fn write(&self, tree: &Tree, path: &str) {
        tree.directory(path);
        for (name, value) in &self.properties {
            tree.file(&format!("{path}/{name}"), value);
        }
        for (name, child) in &self.children {
            child.write(tree, &format!("{path}/{name}"));
        }
    }
}

fn node() -> Source {
    Source::default()
}

/// The blocks of a blob.
#[derive(Default)]
struct Blob {
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Blob {
    fn cell(&mut self, cell: u32) {
        self.structure.extend(cell.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.structure.extend(bytes);
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
    }

    fn begin(&mut self, name: &str) {
        self.cell(1);
        self.bytes(&[name.as_bytes(), b"\0"].concat());
    }

    fn property(&mut self, name: &str, value: &[u8]) {
        let offset = self.strings.len() as u32;
        self.strings.extend([name.as_bytes(), b"\0"].concat());
        self.property_at(offset, value);
    }

    fn property_at(&mut self, offset: u32, value: &[u8]) {
        self.cell(3);
        self.cell(value.len() as u32);
        self.cell(offset);
        self.bytes(value);
    }

    fn node(&mut self, name: &str, source: &Source) {
        self.begin(name);
        for (name, value) in &source.properties {
            self.cell(4);
            self.property(name, value);
        }
        for (name, child) in &source.children {
            self.node(name, child);
        }
        self.cell(2);
    }

    fn finish(mut self) -> Vec<u8> {
        self.cell(9);
        let (structure, strings) = (self.structure.len() as u32, self.strings.len() as u32);
        let header = [
            0xd00d_feed,
            56 + structure + strings,
            56,
            56 + structure,
            40,
            17,
            16,
            0,
            strings,
            structure,
            0,
            0,
            0,
            0,
        ];
        let header: Vec<u8> = header.iter().flat_map(|cell: &u32| cell.to_be_bytes()).collect();
        [header, self.structure, self.strings].concat()
    }
}

/// Sets one cell of a blob's header.
fn set(blob: &mut [u8], field: usize, value: u32) {
    blob[4 * field..4 * field + 4].copy_from_slice(&value.to_be_bytes());
}

const GPU: &[u8] = b"rockchip,rk3588-mali\0arm,mali-valhall-csf\0";

/// Returns a board with the constructs of actual device trees.
fn board() -> Source {
    let gpu = |address| node().with("compatible", GPU).cells("reg", &[address, 0x20_0000]);
    let soc = node()
        .bus(1, 1)
        .cells("ranges", &[0, 0, 0, 0x5000_0000, 0x5000_0000, 1, 0x4000_0000, 0x1000_0000])
        .child("gpu@4d900000", gpu(0x4d90_0000).with("status", "okay\0"))
        .child("gpu@51000000", gpu(0x5100_0000).with("status", "ok\0"))
        .child("gpu@70000000", gpu(0x7000_0000));
    let disabled = node()
        .bus(2, 1)
        .with("ranges", "")
        .with("status", "disabled\0")
        .child("gpu@1", node().with("compatible", GPU).cells("reg", &[0, 1, 4096]))
        .child("gpu@2", node().with("compatible", GPU).with("status", "fail-x\0"));
    let optee = node().with("compatible", b"linaro,optee-tz\0bad/one\0").with("method", "smc\0");
    let svp = node()
        .with("compatible", "acme,svp-region\0")
        .cells("reg", &[0, 0x8000_0000, 0, 0x1000_0000, 1, 0, 0, 4096])
        .with("no-map", "");
    let cma = node()
        .with("compatible", "shared-dma-pool\0")
        .cells("size", &[1, 0])
        .with("reusable", "")
        .with("status", "reserved\0");
    let reserved = node()
        .bus(2, 2)
        .with("ranges", "")
        .child("cma", cma)
        .child("odd@1", node().cells("reg", &[0, 1]))
        .child("svp@80000000", svp);
    node()
        .bus(2, 2)
        .with("compatible", b"acme,a9-board\0acme,a9\0\0")
        .with("model", "Acme A9\0")
        .child("bus@1", disabled)
        .child("firmware", node().child("optee", optee))
        .child(
            "gpu@fb000000",
            node().with("compatible", GPU).cells("reg", &[0, 0xfb00_0000, 0, 0x20_0000]),
        )
        .child("reserved-memory", reserved)
        .child("soc@0", soc)
}

fn nodes(tree: &DeviceTree) -> Vec<Node> {
    tree.nodes_compatible(&["arm,mali-valhall-csf", "linaro,optee-tz"]).collect()
}

fn devices(tree: &DeviceTree) -> Vec<(String, String)> {
    nodes(tree).into_iter().map(|node| (node.device, node.status)).collect()
}

#[test]
fn devices_have_the_kernels_names_and_statuses() {
    let tree = DeviceTree::of_blob(&board().blob()).unwrap();
    let found = devices(&tree);
    let found: Vec<_> = found.iter().map(|(name, status)| (&**name, &**status)).collect();
    assert_eq!(
        found,
        [
            ("1.gpu", "disabled"),
            ("bus@1:gpu@2", "fail-x"),
            ("firmware:optee", "okay"),
            ("fb000000.gpu", "okay"),
            ("4d900000.gpu", "okay"),
            ("141000000.gpu", "okay"),
            // No range contains its address.
            ("soc@0:gpu@70000000", "okay"),
        ]
    );
    let optee = &nodes(&tree)[2];
    assert_eq!(optee.path, "/firmware/optee");
    assert_eq!(optee.compatible, ["linaro,optee-tz"]);
    assert_eq!(optee.bad[0].number, 2);
    assert_eq!(tree.nodes_compatible(&["acme,a9", "bad/one", ""]).count(), 0);

    let (platform, bad) = tree.platform();
    assert_eq!(platform.compatible, ["acme,a9-board", "acme,a9"]);
    assert_eq!(platform.model.as_deref(), Some("Acme A9"));
    assert_eq!(bad[0].number, 3);
}

#[test]
fn reserved_memory_has_its_sizes() {
    let tree = DeviceTree::of_blob(&board().blob()).unwrap();
    let regions: Vec<_> = tree.reserved_memory().collect();
    let actual: Vec<_> =
        regions.iter().map(|r| (&*r.path, r.bytes, r.no_map, r.reusable)).collect();
    assert_eq!(
        actual,
        [
            ("/reserved-memory/cma", Some(1 << 32), false, true),
            ("/reserved-memory/odd@1", None, false, false),
            ("/reserved-memory/svp@80000000", Some(0x1000_0000), true, false),
        ]
    );
    assert_eq!(regions[0].status, "reserved");
    assert_eq!(regions[2].compatible, ["acme,svp-region"]);
}

#[test]
fn device_name_has_only_an_address_of_the_processor() {
    let gpu = |reg: &[u32]| node().with("compatible", GPU).cells("reg", reg);
    let name = |root: Source| {
        let tree = DeviceTree::of_blob(&root.blob()).unwrap();
        devices(&tree).pop().unwrap().0
    };
    let below = |bus: Source| name(node().bus(1, 1).child("b@1", bus.child("gpu@5", gpu(&[5, 1]))));
    assert_eq!(below(node().bus(1, 1).with("ranges", "")), "5.gpu");
    assert_eq!(below(node().bus(1, 1)), "b@1:gpu@5", "no ranges");
    assert_eq!(below(node().with("ranges", "")), "b@1:gpu@5", "no #address-cells");
    assert_eq!(below(node().bus(1, 0).with("ranges", "")), "b@1:gpu@5", "numbers, no addresses");
    assert_eq!(below(node().bus(4, 1).with("ranges", "")), "b@1:gpu@5", "too short");
    assert_eq!(below(node().bus(1, 1).cells("ranges", &[5, 6])), "b@1:gpu@5", "cut");
    assert_eq!(below(node().bus(1, 1).cells("ranges", &[5, 0xf000, 1])), "f000.gpu");
    assert_eq!(below(node().bus(1, 1).cells("ranges", &[4, 0xf000, 1])), "b@1:gpu@5", "behind");
    let pci = node().bus(1, 1).with("ranges", "").with("device_type", "pci\0");
    assert_eq!(below(pci), "b@1:gpu@5");
    let bus = node().bus(1, 1).with("ranges", "").child("gpu@5", gpu(&[5, 1]));
    assert_eq!(name(node().bus(1, 1).child("pcie@1", bus)), "pcie@1:gpu@5");
    // The bus has an address, which makes the device name unique.
    let bus = node().bus(1, 0).cells("reg", &[0x10, 1]).child("gpu@5", gpu(&[5]));
    assert_eq!(name(node().bus(1, 1).child("b@10", bus)), "10.b:gpu@5");
    // `#size-cells` is that of the nearest parent that has one. An address is cut to the parent's
    // cells.
    let bus = node().cells("#address-cells", &[2]).with("ranges", "");
    let bus = bus.child("gpu@5", gpu(&[7, 5, 1]));
    assert_eq!(name(node().bus(1, 1).child("b@1", bus.clone())), "5.gpu");
    assert_eq!(name(node().bus(2, 2).child("b@1", bus)), "700000005.gpu");
    let masked = |mask| name(node().bus(1, 1).child("gpu", gpu(&[16, 1]).cells("mask", &[mask])));
    assert_eq!((masked(8), masked(0)), ("10.3.gpu".into(), "10.ffffffff.gpu".into()));
    let all_bits = gpu(&[u32::MAX, u32::MAX, 1]);
    assert_eq!(name(node().bus(2, 1).child("gpu@x", all_bits)), "gpu@x");
}

#[test]
fn status_is_okay_only_as_in_the_kernel() {
    let status = |status: &[u8]| {
        let gpu = node().with("compatible", GPU).with("status", status);
        devices(&DeviceTree::of_blob(&node().child("gpu", gpu).blob()).unwrap()).remove(0).1
    };
    assert_eq!(status(b"ok\0"), OKAY);
    assert_eq!(status(b"okay\0more"), OKAY);
    assert_eq!(status(b"reserved\0"), "reserved");
    for invalid in [&b""[..], b"\0", b"okay", b"\x1b[2J\0", b"\xff\0"] {
        assert_eq!(status(invalid), INVALID, "{invalid:?}");
    }
}

#[test]
fn directory_and_blob_yield_the_same_tree() {
    let (directory, mut problems) = (Tree::new(), Vec::new());
    board().write(&directory, "sys/firmware/devicetree/base");
    same(&directory, &board());

    // Entries that the kernel would not show.
    let base = "sys/firmware/devicetree/base";
    let before = DeviceTree::of_root(&directory.root(), &mut problems);
    directory.link("..", &format!("{base}/soc@0/up"));
    directory.link("/", &format!("{base}/top"));
    directory.fifo(&format!("{base}/soc@0/fifo"));
    directory.directory(&format!("{base}/soc@0/\x1b[2J"));
    directory.directory(&format!("{base}/soc@0/gpu@4d900000/status#1"));
    directory.file(&format!("{base}/big/ranges"), vec![0; MOST_RANGES + 1]);
    directory.file(&format!("{base}/{}/reg", ["d"; 70].join("/")), "");
    let after = DeviceTree::of_root(&directory.root(), &mut problems);
    assert_eq!(nodes(&before), nodes(&after));
    let actual: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(actual.len(), 3, "{problems:?}");
    assert!(actual.iter().any(|actual| actual.starts_with("makes `ranges` of more")), "{actual:?}");
    assert!(
        actual.iter().any(|actual| actual.starts_with("is nested 64 levels deep")),
        "{actual:?}"
    );
    assert!(
        actual.iter().any(|actual| actual.starts_with("has an invalid node name")),
        "{actual:?}"
    );
}

/// Checks that the directory and the blob of `source` yield the same tree.
fn same(directory: &Tree, source: &Source) {
    let mut problems = Vec::new();
    let directory = DeviceTree::of_root(&directory.root(), &mut problems);
    let blob = DeviceTree::of_blob(&source.blob()).unwrap();
    assert_eq!(problems, []);
    assert_eq!(nodes(&directory), nodes(&blob));
    assert_eq!(directory.platform(), blob.platform());
    let regions = |tree: &DeviceTree| tree.reserved_memory().collect::<Vec<_>>();
    assert_eq!(regions(&directory), regions(&blob));
}

#[test]
fn machine_without_a_device_tree_has_no_nodes() {
    let mut problems = Vec::new();
    let tree = DeviceTree::of_root(&Tree::new().root(), &mut problems);
    assert_eq!((nodes(&tree), tree.reserved_memory().count()), (vec![], 0));
    assert_eq!(tree.platform(), Default::default());
    assert_eq!(problems, []);
}

fn refused(blob: &[u8]) -> String {
    DeviceTree::of_blob(blob).unwrap_err().to_string()
}

#[test]
fn invalid_headers_are_rejected() {
    let blob = board().blob();
    let with = |field, value| {
        let mut blob = blob.clone();
        set(&mut blob, field, value);
        DeviceTree::of_blob(&blob).map(|tree| nodes(&tree).len())
    };
    assert_eq!(
        refused(b"PK\x03\x04"),
        "is not a device tree blob: magic is 0x504b0304, not 0xd00dfeed"
    );
    assert_eq!(refused(b""), "is truncated at offset 0x0, inside its header; copy it again");
    assert_eq!(
        DeviceTree::of_blob(&vec![0; MOST_BYTES + 1]).unwrap_err(),
        BlobError::TooLong(MOST_BYTES + 1)
    );
    for version in [(5, 15), (6, 18)] {
        assert!(
            matches!(with(version.0, version.1), Err(BlobError::Version { .. })),
            "{version:?}"
        );
    }
    let mut newer = blob.clone();
    set(&mut newer, 6, 17);
    set(&mut newer, 5, 16);
    assert!(matches!(DeviceTree::of_blob(&newer), Err(BlobError::Version { .. })));
    // A later version that is compatible with 17, and version 16 without the size of the structure
    // block.
    assert_eq!(with(5, 20), Ok(7));
    let mut old = blob.clone();
    set(&mut old, 5, 16);
    set(&mut old, 9, u32::MAX);
    assert_eq!(DeviceTree::of_blob(&old).map(|tree| nodes(&tree).len()), Ok(7));
    for (field, value) in [(2, 57), (2, u32::MAX), (3, u32::MAX), (8, u32::MAX), (9, u32::MAX)] {
        let error = with(field, value);
        assert!(matches!(error, Err(BlobError::Block { .. })), "{field}: {error:?}");
    }
    assert!(matches!(with(1, u32::MAX), Err(BlobError::Cut { .. })));
    assert!(matches!(with(9, 0), Err(BlobError::Ends(56))));
    // The file may contain more than the blob.
    assert!(DeviceTree::of_blob(&[&blob[..], b"more"].concat()).is_ok());
    for length in 0..blob.len() {
        assert!(DeviceTree::of_blob(&blob[..length]).is_err(), "{length}");
    }
}

#[test]
fn invalid_structures_are_rejected() {
    let of = |build: &dyn Fn(&mut Blob)| {
        let mut blob = Blob::default();
        build(&mut blob);
        refused(&blob.finish())
    };
    let actual = of(&|b| b.property("model", b"x\0"));
    assert_eq!(actual, "has a property at offset 0x38, where none is allowed");
    assert_eq!(of(&|b| b.cell(7)), "has an unknown token 0x7 at offset 0x38");
    assert_eq!(of(&|b| b.cell(2)), "has the end of a node at offset 0x38, where none is allowed");
    let actual = of(&|b| b.begin(""));
    assert_eq!(actual, "has the end of the structure block at offset 0x40, where none is allowed");
    let actual = of(&|b| {
        b.begin("");
        b.node("a", &node());
        b.property("model", b"x\0");
    });
    assert!(actual.starts_with("has a property at offset "), "{actual}");
    for name in ["", "a/b", "a b", "é", &"x".repeat(256)] {
        let actual = of(&|b| b.node("", &node().child(name, node())));
        assert!(actual.starts_with("has an invalid node name at offset 0x40"), "{actual}");
    }
    let actual = of(&|b| {
        b.begin("");
        b.property_at(0, b"");
    });
    assert_eq!(actual, "has a property at offset 0x40 whose name is outside the strings block");
    let actual = of(&|b| {
        b.begin("");
        b.cell(3);
        b.cell(u32::MAX);
        b.cell(0);
    });
    assert_eq!(actual, "ends inside the structure block at offset 0x4c");
    let actual = of(&|b| {
        b.begin("");
        b.property("ranges", &[0; MOST_RANGES + 4]);
    });
    assert_eq!(actual, "has `ranges` of more than 4096 bytes on one path at offset 0x40");
    let bus = || node().with("ranges", vec![0; MOST_RANGES / 2 + 1]);
    assert!(refused(&bus().child("b", node().child("b", bus())).blob()).contains("on one path"));
    assert!(DeviceTree::of_blob(&node().child("a", bus()).child("b", bus()).blob()).is_ok());
    let deep = |depth| (1..depth).fold(node(), |child, _| node().child("d", child)).blob();
    assert!(DeviceTree::of_blob(&deep(DEEPEST)).is_ok());
    assert!(refused(&deep(DEEPEST + 1)).contains("deeper than 64"));
    // Data after the root is not read.
    let mut blob = Blob::default();
    blob.node("", &board());
    blob.cell(7);
    assert!(DeviceTree::of_blob(&blob.finish()).is_ok());
}

#[test]
fn overlay_is_rejected() {
    let fragment = node().with("target-path", "/soc\0").child("__overlay__", node());
    let overlay = node().child("fragment@0", fragment);
    assert!(refused(&overlay.blob()).starts_with("is an overlay; give its base tree"));
    assert!(refused(&overlay.with("compatible", "acme,a9\0").blob()).contains("overlay"));
    // Elsewhere the name has no special meaning.
    assert!(DeviceTree::of_blob(&node().child("__overlay__", node()).blob()).is_ok());
}

#[test]
fn first_of_duplicate_properties_counts() {
    let gpu = node().with("compatible", GPU).with("status", "disabled\0").with("status", "okay\0");
    let tree = DeviceTree::of_blob(&node().child("gpu", gpu).blob()).unwrap();
    assert_eq!(devices(&tree), [("gpu".to_owned(), "disabled".to_owned())]);
}

/// Returns the time that this thread has spent on a CPU, which does not depend on what else the
/// host runs.
fn cpu_time() -> Duration {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds = statistics.split_ascii_whitespace().next().unwrap();
    Duration::from_nanos(nanoseconds.parse().unwrap())
}

#[test]
fn hostile_blob_takes_bounded_time() {
    let start = cpu_time();
    // Many properties, each with an unterminated name.
    let mut blob = Blob::default();
    blob.begin("");
    blob.strings = vec![b'r'; 4 << 20];
    for _ in 0..100_000 {
        blob.property_at(0, b"");
    }
    blob.strings.extend(b"reg\0");
    for _ in 0..100_000 {
        blob.property_at(4 << 20, b"x");
    }
    blob.cell(2);
    assert!(DeviceTree::of_blob(&blob.finish()).is_ok());

    // The maximum number of nodes, all below long `ranges` that contain none of them.
    let mut blob = Blob::default();
    blob.begin("");
    blob.strings = b"ranges\0#address-cells\0#size-cells\0compatible\0reg\0".to_vec();
    let bus = |blob: &mut Blob| {
        blob.property_at(0, &[0; MOST_RANGES / 2]);
        blob.property_at(7, &[0, 0, 0, 1]);
        blob.property_at(22, &[0, 0, 0, 1]);
    };
    bus(&mut blob);
    blob.begin("bus");
    bus(&mut blob);
    for _ in 0..MOST_NODES - 2 {
        blob.begin("n");
        blob.property_at(34, b"a\0");
        blob.property_at(45, &[1; 8]);
        blob.cell(2);
    }
    let full = blob.structure.clone();
    blob.cell(2);
    blob.cell(2);
    let strings = blob.strings.clone();
    let tree = DeviceTree::of_blob(&blob.finish()).unwrap();
    assert_eq!(tree.nodes_compatible(&["a"]).count(), MOST_NODES - 2);
    let mut blob = Blob { structure: full, strings };
    blob.begin("n");
    assert!(refused(&blob.finish()).starts_with("has more than 100000 nodes"));

    // A string of the maximum length, and the maximum number of strings.
    let long = vec![b'a'; 8 << 20];
    let short = b"a\0".repeat(2 << 20);
    let root = node().with("compatible", &short).child("a", node().with("compatible", &long));
    let tree = DeviceTree::of_blob(&root.blob()).unwrap();
    assert_eq!(tree.platform().0.compatible.len(), 2 << 20);
    // The limit is generous, for a debug build.
    let took = cpu_time() - start;
    assert!(took < Duration::from_secs(60), "{took:?}");
}

/// Calls every query of a tree.
fn ask(tree: &DeviceTree) {
    let shown = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    for node in tree.nodes_compatible(&["arm,mali-valhall-csf", "linaro,optee-tz", "a"]) {
        assert!(node.path.starts_with('/') && shown(&node.path), "{node:?}");
        assert!(!node.device.is_empty() && shown(&node.device), "{node:?}");
        assert!(!node.status.is_empty() && shown(&node.status), "{node:?}");
        assert!(!node.compatible.is_empty());
    }
    let _ = (tree.platform(), tree.reserved_memory().count());
    let _ = (tree.heap_nodes(), tree.media_devices());
}

fn any_source() -> impl Strategy<Value = Source> {
    let cells = proptest::collection::vec(prop_oneof![0u32..5, any::<u32>()], 0..12);
    let text = prop_oneof![
        Just(GPU.to_vec()),
        Just(b"okay\0".to_vec()),
        Just(b"disabled\0".to_vec()),
        Just(b"pci\0".to_vec()),
        Just(vec![]),
        proptest::collection::vec(any::<u8>(), 0..8),
    ];
    let small = (0u32..5).prop_map(|cell| cell.to_be_bytes().to_vec());
    let big_endian = |cells: Vec<u32>| cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
    let value = |name: &'static str| match name {
        "reg" | "ranges" | "size" | "mask" => cells.clone().prop_map(big_endian).boxed(),
        "#address-cells" | "#size-cells" => small.clone().boxed(),
        _ => text.clone().boxed(),
    };
    let names: Vec<_> = Property::NAMES.iter().map(|(_, name)| name.to_str().unwrap()).collect();
    let each: Vec<_> = names.iter().map(|name| proptest::option::of(value(name))).collect();
    let properties = each.prop_map(move |values| {
        let named = names.iter().copied().zip(values);
        named.filter_map(|(name, value)| Some((name, value?))).collect::<Vec<_>>()
    });
    let leaf = properties.clone().prop_map(|properties| Source { properties, ..node() });
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let name = "gpu@[0-9a-f]{1,3}|pcie|isa|reserved-memory|[A-Z._+-]{1,4}";
        let children = proptest::collection::btree_map(name, inner, 0..4);
        let whole = (properties.clone(), children);
        whole.prop_map(|(properties, mut children)| {
            children.retain(|name, _| name != "." && name != "..");
            Source { properties, children }
        })
    })
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_rejected(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = DeviceTree::of_blob(&bytes).map(|tree| ask(&tree));
        // The same bytes after a valid header.
        let mut blob = Blob { structure: bytes, strings: b"reg\0ranges\0".to_vec() };
        blob.bytes(b"");
        let _ = DeviceTree::of_blob(&blob.finish()).map(|tree| ask(&tree));
    }

    #[test]
    fn damaged_blob_is_parsed_or_rejected(
        damages in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        end in any::<prop::sample::Index>(),
    ) {
        let mut blob = board().blob();
        for (at, byte) in damages {
            let at = at.index(blob.len());
            blob[at] ^= byte;
        }
        let _ = DeviceTree::of_blob(&blob).map(|tree| ask(&tree));
        let _ = DeviceTree::of_blob(&blob[..end.index(blob.len())]).map(|tree| ask(&tree));
    }

    #[test]
    fn any_tree_is_the_same_from_a_directory(source in any_source()) {
        let directory = Tree::new();
        source.write(&directory, "sys/firmware/devicetree/base");
        same(&directory, &source);
        ask(&DeviceTree::of_blob(&source.blob()).unwrap());
    }
}
