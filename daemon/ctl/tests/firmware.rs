// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests `protheapctl firmware` on valid and damaged images.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A temporary directory of one test, removed on drop.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("protheapctl-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Returns an image like those that are shipped: code, a protected section of 256 KiB, the shared
/// region, and the build information `info`, which is not printed if it has a byte that is not
/// printable.
fn image(info: &[u8]) -> Vec<u8> {
    let section = |flags: u32, start: u32, end: u32, data: (u32, u32)| {
        words(&[24 << 8, flags, start, end, data.0, data.1])
    };
    let data = 20 + 4 * 24 + 12;
    let entries = [
        section(0x0d, 0, 0x1_0000, (data, data + 4)),
        section(0x2b, 0x0300_0000, 0x0304_0000, (0, 0)),
        section(0x4000_0003, 0x0400_0000, 0x0402_0000, (0, 0)),
        section(0x8000_0017, 0x0800_0000, 0x0800_0000, (0, 0)),
        words(&[12 << 8 | 6, data + 4, u32::try_from(info.len()).unwrap()]),
    ]
    .concat();
    assert_eq!(20 + entries.len(), data as usize);
    [words(&[0xc3f1_3a6e, 3, 0x0105_0000, 0, data]), entries, b"code".to_vec(), info.to_vec()]
        .concat()
}

fn usual() -> Vec<u8> {
    image(b"git_sha: 0123abcd \0")
}

/// Returns a zstd frame of uncompressed blocks: (size, bytes, 0 for a raw or 1 for a repeated
/// block).
fn zstd(blocks: &[(u32, &[u8], u32)]) -> Vec<u8> {
    // The window has 8 MiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68];
    for (number, (size, bytes, kind)) in (1..).zip(blocks) {
        let header = size << 3 | kind << 1 | u32::from(number == blocks.len());
        frame.extend(&header.to_le_bytes()[..3]);
        frame.extend(*bytes);
    }
    frame
}

fn protheapctl() -> Command {
    Command::new(env!("CARGO_BIN_EXE_protheapctl"))
}

fn run(file: &Path, options: &[&str]) -> Output {
    protheapctl().arg("firmware").arg(file).args(options).output().unwrap()
}

/// Runs the program on an invalid file, and returns the reason in its error message.
fn refused(file: &Path) -> String {
    let said = run(file, &[]);
    let error = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(1), "{error}");
    assert_eq!(said.stdout, b"", "{error}");
    assert_eq!(run(file, &["--json"]).stderr, error.as_bytes());
    let start = format!("protheapctl: {}: ", file.display());
    let reason = error.strip_prefix(&start).expect(&error).strip_suffix('\n').unwrap();
    assert!(!reason.is_empty() && !reason.contains('\n'), "{reason}");
    reason.to_owned()
}

#[test]
fn text_and_json_match_the_golden_files() {
    let directory = Directory::new("prints");
    let json = include_str!("golden/firmware.json");
    let text = include_str!("golden/firmware.txt");
    let files = [
        directory.file("mali_csffw.bin", usual()),
        directory.file("mali_csffw.bin.zst", zstd(&[(151, &usual(), 0)])),
    ];
    for file in files {
        for (options, golden) in [(&["--json"][..], json), (&[], text)] {
            let said = run(&file, options);
            assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
            assert_eq!(String::from_utf8(said.stdout).unwrap(), golden, "{}", file.display());
        }
    }
}

#[test]
fn output_has_no_control_characters() {
    let directory = Directory::new("controls");
    let file = directory.file("a", image(b"git_sha: \x1b]0;owned\x07\0"));
    let json = String::from_utf8(run(&file, &["--json"]).stdout).unwrap();
    assert!(json.contains(r#""git_sha":null"#), "{json}");
    for said in [run(&file, &[]), run(&directory.0.join("no\x1b[31m\nfile"), &[])] {
        let text = [said.stdout, said.stderr].concat();
        assert!(!text.is_empty() && text.iter().all(|&b| b == b'\n' || b >= b' '), "{text:?}");
        assert!(!text.windows(5).any(|part| part == b"\nfile"));
    }
}

#[test]
fn invalid_image_is_rejected() {
    let directory = Directory::new("refused");
    let missing = directory.0.join("missing");
    assert!(refused(&missing).starts_with("failed to read: No such file"));
    assert_eq!(refused(&directory.0), "failed to read: not a regular file");
    assert_eq!(refused(Path::new("/dev/null")), "failed to read: not a regular file");
    let link = directory.0.join("link");
    symlink("link", &link).unwrap();
    assert!(refused(&link).starts_with("failed to read: "));

    assert!(refused(&directory.file("empty", "")).contains("truncated"));
    assert!(refused(&directory.file("text", "# This is not an image.\n")).contains("0xc3f13a6e"));
    let whole = usual();
    for end in 0..132 {
        let reason = refused(&directory.file("cut", &whole[..end]));
        assert!(reason.starts_with("at offset 0x") && reason.contains("truncated"), "{reason}");
    }
    let mut overlapping = whole.clone();
    // The protected section begins within the code.
    overlapping[20 + 24 + 8..][..4].copy_from_slice(&0x8000_u32.to_le_bytes());
    let reason = refused(&directory.file("overlapping", overlapping));
    assert_eq!(reason, "at offset 0x2c: the section overlaps the one at offset 0x14");

    let packed = zstd(&[(151, &whole, 0)]);
    assert!(refused(&directory.file("packed", &packed)).contains("decompress it first"));
    assert!(refused(&directory.file("cut.zst", &packed[..90])).contains("damaged"));
    assert!(refused(&directory.file("cut.xz", b"\xfd7zXZ\0\0\x04")).contains("xz -C crc32"));
}

#[test]
fn too_large_image_is_rejected() {
    let directory = Directory::new("large");
    let sparse = directory.0.join("sparse");
    File::create(&sparse).unwrap().set_len(1 << 40).unwrap();
    // 32 MiB compressed to one KiB.
    let bomb = directory.file("bomb.zst", zstd(&[(128 << 10, &[0][..], 1); 256]));
    for file in [sparse, bomb] {
        assert_eq!(refused(&file), "is longer than 8388608 bytes");
    }
}

#[test]
fn unreadable_image_is_rejected() {
    let directory = Directory::new("unreadable");
    let file = directory.file("a", usual());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    // Root can read every file.
    if File::open(&file).is_err() {
        assert!(refused(&file).starts_with("failed to read: Permission denied"));
    }
}

#[test]
fn wrong_usage_exits_with_status_2() {
    let wrong: [&[&str]; 5] = [
        &["firmware"],
        &["firmware", "a", "b"],
        &["firmware", "--yaml", "a"],
        &["frobnicate"],
        &["--yaml"],
    ];
    for arguments in wrong {
        let said = protheapctl().args(arguments).output().unwrap();
        assert_eq!(said.status.code(), Some(2), "{arguments:?}");
        assert!(said.stdout.is_empty() && !said.stderr.is_empty(), "{said:?}");
    }
    for good in [&["--help"][..], &["--version"], &["firmware", "--help"]] {
        let said = protheapctl().args(good).output().unwrap();
        assert!(said.status.success() && !said.stdout.is_empty(), "{said:?}");
    }
}

#[test]
fn closed_output_does_not_panic() {
    let directory = Directory::new("closed");
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    let start = |file: &Path, out: Stdio, error: Stdio| {
        let mut command = protheapctl();
        command.arg("firmware").arg(file).stdout(out).stderr(error).output().unwrap()
    };
    let file = directory.file("a", usual());
    let said = start(&file, closed().into(), Stdio::piped());
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
    let said = start(&directory.0, closed().into(), closed().into());
    assert_eq!(said.status.code(), Some(1));

    // A full disk is an error, unlike a reader that has left.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let said = start(&file, full.into(), Stdio::piped());
    let error = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(1), "{error}");
    assert!(error.starts_with("protheapctl: failed to write to standard output: "), "{error}");
}
