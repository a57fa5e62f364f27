// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use crate::testing::Tree;
use proptest::prelude::*;

/// An image of 4068 bytes with a shared section and a protected one of `protected` bytes.
fn made(protected: u32) -> Vec<u8> {
    let entry = |flags: u32, start: u32, bytes: u32| {
        [24 << 8, flags, start, start + bytes, 0, 0].map(u32::to_le_bytes).concat()
    };
    let entries =
        [entry(0x4000_0003, 0x0400_0000, 0x1000), entry(0x23, 0x0300_0000, protected)].concat();
    let size = 20 + entries.len() as u32;
    let header = [0xc3f1_3a6e, 3, 1, 0, size].map(u32::to_le_bytes).concat();
    [header, entries, vec![0; 4000]].concat()
}

/// `made(0x40000)` compressed by xz 5.4 and zstd 1.5, each with a checksum.
#[rustfmt::skip]
const XZ: [u8; 120] = [
    0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x01, 0x69, 0x22, 0xde, 0x36, 0x02, 0x00, 0x21,
    0x01, 0x16, 0x00, 0x00, 0x00, 0x74, 0x2f, 0xe5, 0xa3, 0xe0, 0x0f, 0xe3, 0x00, 0x3c, 0x5d,
    0x00, 0x37, 0x0e, 0x9a, 0x2c, 0x30, 0x18, 0xc3, 0x7a, 0x47, 0x90, 0x07, 0x5a, 0xf3, 0xd1,
    0x47, 0x4f, 0x34, 0xa1, 0xe9, 0x3b, 0x0f, 0xba, 0x85, 0x78, 0x84, 0x76, 0xdd, 0x07, 0x9c,
    0x3a, 0x47, 0x63, 0x8d, 0xbe, 0x36, 0x6f, 0x67, 0x24, 0xf2, 0xc6, 0xc3, 0x6c, 0xba, 0x96,
    0x6e, 0xeb, 0x6a, 0xfa, 0x38, 0x6e, 0xbc, 0x4c, 0xd3, 0x04, 0xa3, 0x15, 0x2b, 0x76, 0xcc,
    0x00, 0x00, 0x80, 0xb8, 0x4b, 0x80, 0x00, 0x01, 0x54, 0xe4, 0x1f, 0x00, 0x00, 0x00, 0xea,
    0xb8, 0x64, 0x81, 0x3e, 0x30, 0x0d, 0x8b, 0x02, 0x00, 0x00, 0x00, 0x00, 0x01, 0x59, 0x5a,
];
#[rustfmt::skip]
const ZSTD: [u8; 69] = [
    0x28, 0xb5, 0x2f, 0xfd, 0x64, 0xe4, 0x0e, 0xbd, 0x01, 0x00, 0x54, 0x02, 0x6e, 0x3a, 0xf1,
    0xc3, 0x03, 0x00, 0x00, 0x00, 0x01, 0x00, 0x44, 0x18, 0x00, 0x00, 0x03, 0x00, 0x00, 0x40,
    0x00, 0x00, 0x00, 0x04, 0x00, 0x10, 0x00, 0x04, 0x00, 0x18, 0x00, 0x00, 0x23, 0x00, 0x03,
    0x00, 0x00, 0x04, 0x03, 0x06, 0x00, 0x9d, 0x07, 0x1e, 0xe8, 0x7c, 0x1a, 0x08, 0x0d, 0x47,
    0x9b, 0x12, 0xee, 0x00, 0x90, 0x3a, 0x7f, 0x81, 0xd1,
];

fn at(directory: &str, name: &str, suffix: &str) -> String {
    format!("{directory}/arm/mali/{name}/mali_csffw.bin{suffix}")
}

/// Returns a file with the contents `bytes`.
fn holding(bytes: &[u8]) -> File {
    use std::io::{Seek as _, Write as _};

    let made = rustix::fs::memfd_create("image", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = File::from(made.expect("a file in memory"));
    file.write_all(bytes).and_then(|()| file.rewind()).expect("writing to memory");
    file
}

fn names(images: &[Firmware]) -> Vec<(&str, u64)> {
    images.iter().map(|image| (image.name.as_str(), image.protected_bytes)).collect()
}

#[test]
fn read_returns_the_wanted_image_or_all() {
    let tree = Tree::new();
    let mut problems = Vec::new();
    assert_eq!(read(&tree.root(), "", None, &mut problems), []);
    tree.file(&at("usr/lib/firmware", "arch10.8", ""), made(0x40000));
    tree.file(&at("lib/firmware", "arch10.10", ""), made(0x10000));
    tree.link("arch10.10", "lib/firmware/arm/mali/arch10.12");
    tree.directory("lib/firmware/arm/mali/notes");
    let root = tree.root();
    let read =
        |wanted: Option<&str>, problems: &mut Vec<Problem>| read(&root, "7.3.4", wanted, problems);
    let all = [("arch10.10", 0x10000), ("arch10.12", 0x10000), ("arch10.8", 0x40000)];
    assert_eq!(names(&read(None, &mut problems)), all);
    assert_eq!(names(&read(Some("arch10.8"), &mut problems)), all[2..]);
    assert_eq!(names(&read(Some("arch14.8"), &mut problems)), all);
    assert_eq!(problems, []);
    assert_eq!(names(&read(Some("../arch10.8"), &mut problems)), all);
    assert_eq!(problems.len(), 1);
}

#[test]
fn present_images_have_their_paths() {
    let tree = Tree::new();
    let present = |release: &str| present(&tree.root(), release, &mut Vec::new());
    assert!(present("7.3.4").is_empty());
    tree.directory("lib/firmware/arm/mali/arch10.10");
    tree.file(&at("usr/lib/firmware", "arch10.8", ".zst"), "");
    tree.file(&at("lib/firmware/updates/7.3.4", "arch13.8", ".xz"), "");
    let path = |release: &str| present(release).remove("arch13.8");
    let packed = "lib/firmware/updates/7.3.4/arm/mali/arch13.8/mali_csffw.bin.xz";
    assert_eq!(path("7.3.4").as_deref(), Some(packed));
    assert_eq!(path(""), None);
    // The kernel searches all directories for a plain image first.
    tree.file(&at("lib/firmware", "arch13.8", ""), "");
    let plain = "lib/firmware/arm/mali/arch13.8/mali_csffw.bin";
    assert_eq!(path("7.3.4").as_deref(), Some(plain));
    assert_eq!(present("").into_keys().collect::<Vec<_>>(), ["arch10.8", "arch13.8"]);
    // The kernel's own directory precedes all others.
    tree.file(CUSTOM, "/srv/fw\n");
    tree.file(&at("srv/fw", "arch12.8", ""), "");
    assert_eq!(present("").len(), 3);
}

#[test]
fn identify_reads_the_image_that_the_kernel_would_load() {
    let tree = Tree::new();
    tree.file(&at("usr/lib/firmware", "arch10.8", ""), made(0x40000));
    tree.file(&at("lib/firmware", "arch10.8", ""), made(0x10000));
    tree.file(&at("lib/firmware", "arch10.10", ""), "no image");
    let (root, mut problems) = (tree.root(), Vec::new());
    let mut identify = |name: &str| {
        let image = identify(&root, "7.3.4", name, &mut problems);
        image.map(|image| (image.name, image.protected_bytes))
    };
    assert_eq!(identify("arch10.8"), Some(("arch10.8".to_owned(), 0x10000)));
    for name in ["arch10.12", "../mali/arch10.8", "arch10.10"] {
        assert_eq!(identify(name), None, "{name}");
    }
    assert_eq!(problems.len(), 1);
}

#[test]
fn read_follows_the_kernel_s_search_order() {
    let tree = Tree::new();
    let root = tree.root();
    let mut problems = Vec::new();
    // From the lowest to the highest precedence.
    let places = [
        at("usr/lib/firmware", "a", ""),
        at("lib/firmware", "a", ""),
        at("lib/firmware/7.3.4", "a", ""),
        at("lib/firmware/updates", "a", ""),
        at("lib/firmware/updates/7.3.4", "a", ""),
        at("srv/fw", "a", ""),
    ];
    tree.file(CUSTOM, "/srv/fw\n");
    // A compressed image is used only if no directory has an uncompressed one.
    tree.file(&at("srv/fw", "a", ".zst"), "never read");
    for (bytes, path) in (1..).map(|page| page * 0x1000).zip(places) {
        tree.file(&path, made(bytes));
        let images = read(&root, "7.3.4", Some("a"), &mut problems);
        assert_eq!(names(&images), [("a", u64::from(bytes))], "{path}");
    }
    assert_eq!(problems, []);
}

#[test]
fn read_decompresses_xz_and_zstd() {
    let tree = Tree::new();
    tree.file(&at("lib/firmware", "x", ".xz"), XZ);
    tree.file(&at("lib/firmware", "z", ".zst"), ZSTD);
    let mut problems = Vec::new();
    let images = read(&tree.root(), "", None, &mut problems);
    assert_eq!(names(&images), [("x", 0x40000), ("z", 0x40000)], "{problems:?}");
    // read_file() also reads uncompressed images.
    tree.file(&at("lib/firmware", "p", ""), made(0x40000));
    for (name, suffix) in [("p", ""), ("x", ".xz"), ("z", ".zst")] {
        let path = tree.path(&at("lib/firmware", name, suffix));
        assert_eq!(read_file(&path), Ok(made(0x40000)), "{suffix}");
    }
}

#[test]
fn read_rejects_oversized_protected_sections() {
    let tree = Tree::new();
    tree.file(&at("lib/firmware", "most", ""), made(64 * 0x40000));
    tree.file(&at("lib/firmware", "more", ""), made(64 * 0x40000 + 0x1000));
    let mut problems = Vec::new();
    let images = read(&tree.root(), "", None, &mut problems);
    assert_eq!(names(&images), [("most", 64 * 0x40000)]);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].path.ends_with("more/mali_csffw.bin"));
}

#[test]
fn read_reports_invalid_images_with_their_paths() {
    let tree = Tree::new();
    let file = |name: &str, suffix: &str| at("lib/firmware", name, suffix);
    tree.file(&file("a", ""), "");
    tree.fifo(&file("b", ""));
    tree.directory(&file("c", ""));
    tree.link("mali_csffw.bin", &file("d", ""));
    std::fs::File::create(tree.path(&file("e", ""))).unwrap().set_len(100 << 20).unwrap();
    tree.file(&file("f", ".xz"), &XZ[..90]);
    tree.file(&file("g", ".zst"), &ZSTD[..40]);
    // 256 blocks of 128 KiB of a repeated byte: 32 MiB compressed to one KiB.
    let block = ((128_u32 << 10 << 3) | 0b010).to_le_bytes();
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68];
    for _ in 0..256 {
        bomb.extend([block[0], block[1], block[2], 0]);
    }
    tree.file(&file("h", ".zst"), bomb);
    tree.file(&file("ok", ""), made(0x1000));
    let mut problems = Vec::new();
    let images = read(&tree.root(), "", None, &mut problems);
    assert_eq!(names(&images), [("ok", 0x1000)]);
    assert_eq!(problems.len(), 8, "{problems:#?}");
    for (problem, name) in problems.iter().zip(["a", "b", "c", "d", "e", "f", "g", "h"]) {
        assert!(problem.path.contains(&format!("/arm/mali/{name}/")), "{problem}");
    }
    assert_eq!(problems[7].message, format!("is longer than {LARGEST} bytes"));
}

#[test]
fn decompression_of_empty_blocks_is_limited() {
    let tree = Tree::new();
    let file = |name: &str, suffix: &str| at("lib/firmware", name, suffix);
    // 2,000,000 empty blocks.
    let frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68][..], &vec![0; 6_000_000]].concat();
    tree.file(&file("a", ".zst"), frame);
    // 1,500,000 chunks of one byte, four bytes each.
    let chunks = [1, 0, 0, b'x'].into_iter().chain([2, 0, 0, b'x'].repeat(1_500_000));
    let chunks: Vec<_> = XZ[..24].iter().copied().chain(chunks).collect();
    tree.file(&file("b", ".xz"), chunks);
    // 300,000 empty blocks: header, end of data, padding, CRC32 of the header.
    let block = [&XZ[12..24], &[0; 8]].concat();
    let blocks = [&XZ[..12], &block.repeat(300_000)].concat();
    tree.file(&file("c", ".xz"), blocks);
    let mut problems = Vec::new();
    assert_eq!(read(&tree.root(), "", None, &mut problems), []);
    let reported: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(reported.len(), 3, "{reported:?}");
    assert!(reported[0].contains("zstd"), "{reported:?}");
    let large = "File too large";
    assert!(reported[1].contains(large) && reported[2].contains(large), "{reported:?}");
}

#[test]
fn zstd_decodes_raw_blocks() {
    // Raw blocks of 128 KiB; the last one has the last-block flag.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68];
    for number in 0..40 {
        let block = ((128_u32 << 10 << 3) | u32::from(number == 39)).to_le_bytes();
        frame.extend(&block[..3]);
        frame.extend(vec![number; 128 << 10]);
    }
    assert_eq!(zstd(holding(&frame)).unwrap().1, 40 * (128 << 10));
}

proptest! {
    #[test]
    fn damaged_archives_never_exceed_the_size_limit(at in 0..120_usize, byte: u8, cut in 0..120_usize) {
        for (unpack, archive) in [(xz as Unpack, &XZ[..]), (zstd, &ZSTD[..])] {
            let mut archive = archive.to_vec();
            if let Some(place) = archive.get_mut(at) {
                *place = byte;
            }
            archive.truncate(cut.max(1));
            if let Ok(bytes) = unpack(holding(&archive)) {
                prop_assert!(bytes.0.len() <= LARGEST);
            }
        }
    }
}
