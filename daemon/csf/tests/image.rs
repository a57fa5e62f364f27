// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parses generated images, valid and damaged.

#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use protheap_csf::{Error, Flags, Image, MAGIC, MAX_SECTIONS, SHARED_REGION, Section, table_bytes};

const RW: u32 = 0x3;
const PROT: u32 = 0x2b;
const SHARED: u32 = 0x4000_0003;
const OPTIONAL: u32 = 1 << 31;
/// Offset of the first entry, after the header.
const FIRST: usize = 20;
/// End of the table in [`usual`].
const TABLE: usize = 128;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn entry(kind: u32, body: &[u32]) -> Vec<u8> {
    let size = u32::try_from(4 + 4 * body.len()).unwrap();
    [words(&[kind | size << 8]), words(body)].concat()
}

fn section(flags: u32, va: (u32, u32), data: (u32, u32)) -> Vec<u8> {
    entry(0, &[flags, va.0, va.1, data.0, data.1])
}

fn image(entries: &[Vec<u8>], data: &[u8]) -> Vec<u8> {
    let table = entries.concat();
    let size = u32::try_from(FIRST + table.len()).unwrap();
    [words(&[MAGIC, 3, 0x0105_0000, 0, size]), table, data.to_vec()].concat()
}

/// Returns an image like those that are shipped: shared region, code, a protected section of 256
/// KiB.
fn usual() -> Vec<u8> {
    let code = section(0x0d, (0, 0x1_0000), (128, 132));
    let prot = section(PROT, (0x0300_0000, 0x0304_0000), (128, 128));
    let shared = section(SHARED, (SHARED_REGION, SHARED_REGION + 0x2_0000), (0, 0));
    let unknown = entry(9 | OPTIONAL, &[1, 2, 3]);
    let trace = entry(3, &[7]);
    let build = entry(6, &[132, 19]);
    let file = image(&[code, prot, shared, unknown, trace, build], b"codegit_sha: 0123abcd \0");
    assert_eq!(file.len(), TABLE + 4 + 19);
    file
}

fn refused(file: &[u8]) -> Error {
    let error = Image::parse(file).expect_err("must be refused");
    let text = error.to_string();
    assert!(text.starts_with(&format!("at offset {:#x}: ", error.offset())), "{text}");
    assert!(error.offset() <= file.len(), "{text}");
    error
}

/// Returns the error of an image with one valid section and one invalid section.
fn refused_section(flags: u32, va: (u32, u32), data: (u32, u32)) -> Error {
    let good = section(SHARED, (SHARED_REGION, SHARED_REGION + 0x1000), (0, 0));
    let error = refused(&image(&[good.clone(), section(flags, va, data)], &[0; 64]));
    assert_eq!(error.offset(), FIRST + good.len());
    error
}

#[test]
fn parse_returns_the_contents_of_a_usual_image() {
    let file = usual();
    let image = Image::parse(&file).unwrap();
    assert_eq!(image.version(), (0, 3));
    assert_eq!(image.version_hash(), 0x0105_0000);
    assert_eq!(image.git_sha(), Some("0123abcd"));
    assert_eq!(image.protected_bytes(), 256 << 10);
    let flags: Vec<_> = image.sections().map(|s| s.flags.to_string()).collect();
    assert_eq!(flags, ["read exec cached", "read write cached prot", "read write shared"]);
    let prot = image.sections().find(|s| s.flags.contains(Flags::PROT)).unwrap();
    assert_eq!((prot.va_start, prot.va_end), (0x0300_0000, 0x0304_0000));
    assert_eq!((prot.offset, prot.bytes()), (FIRST + 24, 256 << 10));
    assert_eq!((prot.data_start, prot.data_end), (128, 128));
}

#[test]
fn flags_are_displayed_as_words() {
    let file = image(&[section(0xc000_003f, (0, 0x1000), (0, 0))], &[]);
    let image = Image::parse(&file).unwrap();
    let flags = image.sections().next().unwrap().flags;
    assert_eq!(flags.to_string(), "read write exec cached coherent prot shared zero");
    assert_eq!(flags.bits(), 0xc000_003f);
    assert_eq!(Flags::default().to_string(), "");
}

#[test]
fn parse_rejects_truncated_images() {
    let file = usual();
    for end in 0..TABLE {
        let error = refused(&file[..end]);
        match error {
            Error::HeaderCut { offset } => assert!(offset == end && end < FIRST),
            Error::TableSize { offset: 16, size: 128, file } => assert!(file == end),
            other => panic!("{other}"),
        }
    }
    let error = refused(&file[..131]);
    assert_eq!(error, Error::DataPastFile { offset: FIRST, end: 132, file: 131 });
    assert!(
        error.to_string().contains("data ends at 0x84, past the end of the file at 0x83"),
        "{error}"
    );
}

#[test]
fn parse_validates_the_header() {
    let with = |at: usize, byte: u8| {
        let mut file = usual();
        file[at] = byte;
        refused(&file)
    };
    assert_eq!(with(0, 0), Error::Magic { offset: 0, found: 0xc3f1_3a00 });
    assert_eq!(with(5, 1), Error::Version { offset: 5, major: 1, minor: 3 });
    assert_eq!(with(7, 1), Error::Padding { offset: 6 });
    assert_eq!(with(12, 1), Error::Padding { offset: 12 });
    let file = usual().len();
    assert_eq!(with(19, 0xff), Error::TableSize { offset: 16, size: 0xff00_0080, file });
    assert_eq!(with(16, 19), Error::TableSize { offset: 16, size: 19, file });
    assert_eq!(with(16, 20), Error::NoSections { offset: FIRST });
    // xz, zstd, and an empty file.
    assert!(matches!(refused(b"\xfd7zXZ\0 and some more bytes"), Error::Magic { .. }));
    assert!(matches!(refused(b"\x28\xb5\x2f\xfd and some more bytes"), Error::Magic { .. }));
    assert_eq!(refused(&[]), Error::HeaderCut { offset: 0 });
}

#[test]
fn parse_validates_entries() {
    let table = |entries: &[u8]| refused(&image(&[entries.to_vec()], &[]));
    assert_eq!(table(&words(&[0x0000])), Error::EntrySize { offset: FIRST, size: 0 });
    assert_eq!(table(&words(&[0x0301])), Error::EntrySize { offset: FIRST, size: 3 });
    assert_eq!(table(&words(&[0x0601, 0])), Error::EntrySize { offset: FIRST, size: 6 });
    let past = Error::EntryPastTable { offset: FIRST, size: 252, table: 24 };
    assert_eq!(table(&words(&[0xfc01])), past);
    assert_eq!(table(&[1, 4]), Error::EntryPastTable { offset: FIRST, size: 4, table: 22 });
    assert_eq!(table(&words(&[0x0401])), Error::NoSections { offset: 24 });
    let short = Error::EntryShort { offset: FIRST, kind: 0, size: 20 };
    assert_eq!(table(&entry(0, &[0; 4])), short);
    assert_eq!(table(&entry(6, &[0])), Error::EntryShort { offset: FIRST, kind: 6, size: 8 });
    for kind in [5, 7, 200] {
        let found = Error::EntryKind { offset: FIRST, kind: u8::try_from(kind).unwrap() };
        assert_eq!(table(&entry(kind, &[0])), found);
        assert_eq!(table(&entry(kind | OPTIONAL, &[0])), Error::NoSections { offset: 28 });
    }
    for kind in 1..=4 {
        assert_eq!(table(&entry(kind, &[0])), Error::NoSections { offset: 28 });
    }
    // OPTIONAL applies only to unknown types: an invalid section is still an error.
    let short = Error::EntryShort { offset: FIRST, kind: 0, size: 8 };
    assert_eq!(table(&entry(OPTIONAL, &[0])), short);
}

#[test]
fn parse_validates_sections() {
    let offset = FIRST + 24;
    let ok = (0x1000, 0x2000);
    let error = refused_section(0x43, ok, (0, 0));
    assert_eq!(error, Error::Flags { offset, unknown: 0x40 });
    let error = refused_section(0x2000_0003, ok, (0, 0));
    assert_eq!(error, Error::Flags { offset, unknown: 0x2000_0000 });
    let error = refused_section(RW, (0x2000, 0x1000), (0, 0));
    assert_eq!(error, Error::VaReversed { offset, start: 0x2000, end: 0x1000 });
    let error = refused_section(RW, (0x1004, 0x2000), (0, 0));
    assert_eq!(error, Error::VaAlignment { offset, start: 0x1004, end: 0x2000 });
    let error = refused_section(RW, (0x1000, 0xffff_ffff), (0, 0));
    assert_eq!(error, Error::VaAlignment { offset, start: 0x1000, end: 0xffff_ffff });
    let error = refused_section(RW, ok, (9, 8));
    assert_eq!(error, Error::DataReversed { offset, start: 9, end: 8 });
    let error = refused_section(RW, ok, (0, 133));
    assert_eq!(error, Error::DataPastFile { offset, end: 133, file: 132 });
    let error = refused_section(RW, ok, (u32::MAX, u32::MAX));
    assert_eq!(error, Error::DataPastFile { offset, end: u32::MAX, file: 132 });
    let error = refused_section(RW, (0x1000, 0x1000), (0, 1));
    assert_eq!(error, Error::DataTooLarge { offset, data: 1, bytes: 0 });
    let error = refused_section(RW, (SHARED_REGION, SHARED_REGION), (0, 0));
    assert_eq!(error, Error::NotShared { offset });
}

#[test]
fn parse_accepts_protected_sections_that_loaders_accept() {
    // For a protected section, the loaders check neither the size of its data nor its address.
    let large = section(PROT, (0x1000, 0x2000), (0, 5000));
    let shared = section(PROT, (SHARED_REGION, SHARED_REGION + 0x1000), (0, 0));
    let file = image(&[large, shared], &[0; 5000]);
    assert_eq!(Image::parse(&file).unwrap().protected_bytes(), 0x2000);
}

#[test]
fn parse_rejects_overlapping_sections() {
    let two = |a: (u32, u32), b: (u32, u32)| {
        let file = image(&[section(RW, a, (0, 0)), section(PROT, b, (0, 0))], &[]);
        Image::parse(&file).map(|image| image.protected_bytes())
    };
    let overlap = Err(Error::Overlap { offset: FIRST + 24, other: FIRST });
    assert_eq!(two((0x1000, 0x3000), (0x2000, 0x4000)), overlap);
    assert_eq!(two((0x2000, 0x4000), (0x1000, 0x3000)), overlap);
    assert_eq!(two((0x1000, 0x4000), (0x2000, 0x3000)), overlap);
    assert_eq!(two((0x2000, 0x3000), (0x1000, 0x4000)), overlap);
    assert_eq!(two((0x1000, 0x2000), (0x1000, 0x2000)), overlap);
    assert_eq!(two((0x1000, 0x2000), (0x2000, 0x3000)), Ok(0x1000));
    assert_eq!(two((0x2000, 0x2000), (0x1000, 0x3000)), Ok(0x2000));
    assert_eq!(two((0x1000, 0x3000), (0x2000, 0x2000)), Ok(0));
    assert_eq!(two((0xffff_e000, 0xffff_f000), (0, 0xffff_e000)), Ok(0xffff_e000));
    let text = Error::Overlap { offset: FIRST + 24, other: FIRST }.to_string();
    assert_eq!(text, "at offset 0x2c: the section overlaps the one at offset 0x14");
}

#[test]
fn parse_limits_the_number_of_sections() {
    let pages = |count: usize| {
        let one = |page: u32| section(PROT, (page << 12, (page + 1) << 12), (0, 0));
        image(&(0..u32::try_from(count).unwrap()).map(one).collect::<Vec<_>>(), &[])
    };
    let file = pages(MAX_SECTIONS);
    let image = Image::parse(&file).unwrap();
    assert_eq!(image.sections().len(), MAX_SECTIONS);
    assert_eq!(image.protected_bytes(), 4096 * MAX_SECTIONS as u64);
    let offset = FIRST + 24 * MAX_SECTIONS;
    assert_eq!(refused(&pages(MAX_SECTIONS + 1)), Error::TooManySections { offset });
}

#[test]
fn git_sha_ignores_invalid_build_information() {
    let sha = |start: u32, bytes: u32, data: &[u8]| {
        let one = section(RW, (0, 0x1000), (0, 0));
        let file = image(&[one, entry(6, &[start, bytes])], data);
        Image::parse(&file).unwrap().git_sha().map(str::to_owned)
    };
    let at = 56;
    assert_eq!(sha(at, 13, b"git_sha: abc\0").as_deref(), Some("abc"));
    assert_eq!(sha(at, 17, b"git_sha: abc \0\0\0\0").as_deref(), Some("abc"));
    assert_eq!(sha(at, 12, b"git_sha: abc\0"), None);
    assert_eq!(sha(at, 10, b"git_sha: \0"), None);
    assert_eq!(sha(at, 14, b"git_sha: a\x1bbc\0"), None);
    assert_eq!(sha(at, 14, b"git_sha: a\xffbc\0"), None);
    assert_eq!(sha(at, 14, b"git-sha: abcd\0"), None);
    assert_eq!(sha(at, 99, b"git_sha: abc\0"), None);
    assert_eq!(sha(u32::MAX, u32::MAX, b"git_sha: abc\0"), None);
}

/// Checks the invariants of a valid image.
fn check(image: &Image<'_>, file: &[u8]) {
    let mut sections: Vec<Section> = image.sections().copied().collect();
    let prot = |s: &&Section| s.flags.contains(Flags::PROT);
    assert_eq!(image.protected_bytes(), sections.iter().filter(prot).map(Section::bytes).sum());
    for s in &sections {
        assert!(s.va_start <= s.va_end && s.va_start % 4096 == 0 && s.va_end % 4096 == 0);
        assert!(s.data_start <= s.data_end && s.data_end as usize <= file.len());
        assert_eq!(&file[s.offset + 8..s.offset + 12], s.va_start.to_le_bytes());
    }
    sections.retain(|s| s.bytes() > 0);
    sections.sort_by_key(|s| s.va_start);
    assert!(sections.is_sorted_by(|a, b| a.va_end <= b.va_start));
}

proptest! {
    #[test]
    fn parse_never_panics_on_random_bytes(
        bytes in prop::collection::vec(any::<u8>(), 0..512),
        header in any::<bool>(),
    ) {
        let mut file = bytes;
        if header && file.len() >= FIRST {
            let size = u32::try_from(file.len()).unwrap();
            file[..FIRST].copy_from_slice(&words(&[MAGIC, 3, 0, 0, size]));
        }
        if let Ok(image) = Image::parse(&file) {
            check(&image, &file);
        }
    }

    #[test]
    fn parse_never_panics_on_damaged_images(
        damage in prop::collection::vec((0_usize..TABLE, any::<u8>()), 0..4),
        end in 0_usize..=TABLE + 23,
    ) {
        let mut file = usual();
        for (at, byte) in damage {
            file[at] = byte;
        }
        file.truncate(end);
        let whole = Image::parse(&file);
        // Header and table alone must give the same sizes and the same errors.
        if let Some(head) = table_bytes(&file).and_then(|table| file.get(..table.max(FIRST))) {
            let of_head = Image::parse_table(head, file.len());
            let sizes = |image: Image<'_>| (image.protected_bytes(), image.version());
            prop_assert_eq!(of_head.map(sizes), whole.clone().map(sizes));
        }
        match whole {
            Ok(image) => check(&image, &file),
            Err(error) => prop_assert!(error.offset() <= file.len() && !error.to_string().is_empty()),
        }
    }

    #[test]
    fn protected_bytes_is_the_sum_of_protected_sections(
        parts in prop::collection::vec((0_u32..64, 0_u32..64, any::<bool>(), 0_u32..8), 1..MAX_SECTIONS),
    ) {
        let (mut va, mut wanted, mut entries) = (0_u32, 0_u64, Vec::new());
        for (gap, pages, prot, other) in parts {
            let (start, end) = (va + gap * 4096, va + (gap + pages) * 4096);
            entries.push(section(if prot { PROT } else { RW }, (start, end), (0, 0)));
            entries.push(entry(7 | OPTIONAL, &vec![0xffff_ffff; other as usize]));
            wanted += if prot { u64::from(pages) * 4096 } else { 0 };
            va = end;
        }
        let count = entries.len() / 2;
        let file = image(&entries, &[]);
        let image = Image::parse(&file).unwrap();
        check(&image, &file);
        prop_assert_eq!(image.protected_bytes(), wanted);
        prop_assert_eq!(image.sections().len(), count);
    }
}
