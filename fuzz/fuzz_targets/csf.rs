// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any file is either refused with a place in it, or read into sections that cannot hurt anybody.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protheap_csf::{Flags, Image, MAX_SECTIONS, Section};

fuzz_target!(|file: &[u8]| {
    let image = match Image::parse(file) {
        Ok(image) => image,
        Err(error) => {
            assert!(error.offset() <= file.len(), "{error}");
            assert!(error.to_string().starts_with("at offset 0x"));
            return;
        }
    };
    let mut sections: Vec<&Section> = image.sections().collect();
    assert!((1..=MAX_SECTIONS).contains(&sections.len()));
    for section in &sections {
        assert!(section.va_start <= section.va_end && section.data_start <= section.data_end);
        assert!(section.data_end as usize <= file.len() && section.offset + 24 <= file.len());
        assert!(section.flags.words().count() == section.flags.bits().count_ones() as usize);
    }
    let protected = sections.iter().filter(|s| s.flags.contains(Flags::PROT));
    assert_eq!(image.protected_bytes(), protected.map(|s| s.bytes()).sum::<u64>());
    sections.retain(|section| section.bytes() > 0);
    sections.sort_by_key(|section| section.va_start);
    assert!(sections.is_sorted_by(|a, b| a.va_end <= b.va_start));
    assert!(image.git_sha().is_none_or(|sha| sha.bytes().all(|byte| byte.is_ascii_graphic())));
});
