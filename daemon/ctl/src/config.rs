// SPDX-License-Identifier: MIT OR Apache-2.0

//! The configuration of a kernel.

use miniz_oxide::inflate::decompress_to_vec_with_limit;
use protheap_board::Problem;
use protheap_board::root::Root;

/// Present with `CONFIG_IKCONFIG_PROC`. It always describes the running kernel.
const RUNNING: &str = "proc/config.gz";
/// Maximum size of a configuration, in bytes. Those of distributions have less than 400 KiB.
const LARGEST: usize = 4 << 20;
/// Maximum size of a compressed configuration, in bytes. Those of distributions have less than 100
/// KiB. The limit of the uncompressed size does not bound the time for decompression.
const LARGEST_ZIPPED: usize = 512 << 10;

/// Value of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Built in, or true.
    Yes,
    /// Built as a module.
    Module,
    /// Not set, or unknown to this kernel.
    No,
}

/// The configuration of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// Path of the configuration, including the root.
    pub(crate) path: String,
    text: String,
}

impl Config {
    /// Returns the value of the option `name`, such as `CONFIG_TEE`.
    pub(crate) fn choice(&self, name: &str) -> Choice {
        let value = |line: &'_ str| -> Option<Choice> {
            match line.strip_prefix(name)?.strip_prefix('=')? {
                "m" => Some(Choice::Module),
                _ => Some(Choice::Yes),
            }
        };
        self.text.lines().find_map(value).unwrap_or(Choice::No)
    }

    /// Returns whether the firmware image `file`, relative to the firmware directories, is built
    /// into the kernel.
    pub(crate) fn has_firmware(&self, file: &str) -> bool {
        let value = |line: &'_ str| {
            line.strip_prefix("CONFIG_EXTRA_FIRMWARE=\"")?.strip_suffix('"').map(str::to_owned)
        };
        self.text
            .lines()
            .find_map(value)
            .is_some_and(|files| files.split(' ').any(|one| one == file))
    }
}

/// Reads the configuration of the kernel `release` from the kernel, or from the places where
/// distributions install it. Returns `None` if there is none. If there are only unreadable ones,
/// adds a problem.
pub(crate) fn read(root: &Root, release: &str, problems: &mut Vec<Problem>) -> Option<Config> {
    let mut met = Vec::new();
    let known = !release.is_empty() && !release.contains('/');
    let beside = [
        format!("boot/config-{release}"),
        format!("usr/lib/modules/{release}/config"),
        format!("lib/modules/{release}/config"),
    ];
    let beside = beside.into_iter().filter(|_| known);
    for path in std::iter::once(RUNNING.to_owned()).chain(beside) {
        let limit = if path == RUNNING { LARGEST_ZIPPED } else { LARGEST };
        let bytes = root.read(&path, limit, &mut met);
        let Some(bytes) = bytes else { continue };
        let text = if path == RUNNING { unzipped(&bytes) } else { Some(bytes) };
        let path = root.shown(&path);
        let why = match text.map(String::from_utf8) {
            Some(Ok(text)) => return Some(Config { path, text }),
            Some(Err(_)) => "is not UTF-8",
            None => "failed to decompress",
        };
        met.push(Problem::new(path, why));
    }
    problems.append(&mut met);
    None
}

/// Decompresses a gzip file of one member (RFC 1952); returns `None` if it is damaged.
fn unzipped(file: &[u8]) -> Option<Vec<u8>> {
    // The kernel's file has no name or comment before the data (`scripts/Makefile.lib`: `gzip -n`).
    // The checksum and the length after the data are not checked.
    match file {
        [0x1f, 0x8b, 8, 0, _, _, _, _, _, _, rest @ ..] => {
            decompress_to_vec_with_limit(rest, LARGEST).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protheap_board::testing::Tree;

    /// `CONFIG_TEE=m`, `# CONFIG_DRM_TYR is not set`, `CONFIG_A=y`, compressed.
    const GZIP: [u8; 62] = *b"\
        \x1f\x8b\x08\0\0\0\0\0\x02\xff\x73\xf6\xf7\x73\xf3\x74\x8f\x0f\x71\x75\xb5\xcd\xe5\x52\x56\x70\
        \x86\x70\x5d\x82\x7c\xe3\x43\x22\x83\x14\x32\x8b\x15\xf2\xf2\x4b\x14\x8a\x53\x4b\xb8\xa0\x32\
        \x8e\xb6\x95\x5c\0\x93\xe9\x64\x94\x34\0\0\0";

    fn choices(tree: &Tree) -> (Option<[Choice; 3]>, usize) {
        let mut problems = Vec::new();
        let config = read(&tree.root(), "7.3.4", &mut problems);
        let names = ["CONFIG_TEE", "CONFIG_DRM_TYR", "CONFIG_A"];
        (config.map(|config| names.map(|name| config.choice(name))), problems.len())
    }

    #[test]
    fn configuration_of_the_running_kernel_takes_precedence() {
        use Choice::{Module, No, Yes};
        let tree = Tree::new();
        assert_eq!(choices(&tree), (None, 0));
        tree.file("usr/lib/modules/7.3.4/config", "CONFIG_TEE=y\nCONFIG_TEE_X=m\nCONFIG_A=3\n");
        assert_eq!(choices(&tree), (Some([Yes, No, Yes]), 0));
        tree.file("boot/config-7.3.4", "CONFIG_A=m\n");
        tree.file("boot/config-7.3.5", "CONFIG_DRM_TYR=m\n");
        assert_eq!(choices(&tree), (Some([No, No, Module]), 0));
        tree.file(RUNNING, GZIP);
        assert_eq!(choices(&tree), (Some([Module, No, Yes]), 0));
    }

    #[test]
    fn damaged_configuration_is_reported_if_it_is_the_only_one() {
        let tree = Tree::new();
        for length in [0, 5, 10, 20, 40] {
            tree.file(RUNNING, &GZIP[..length]);
            assert_eq!(choices(&tree), (None, 1), "{length}");
        }
        // 4 MiB and more of the same byte.
        tree.file(RUNNING, [&GZIP[..10], &bomb()].concat());
        assert_eq!(choices(&tree), (None, 1));
        tree.file("boot/config-7.3.4", "CONFIG_A=m\n");
        assert_eq!(choices(&tree).1, 0);
    }

    /// Returns a deflated block that repeats one byte beyond the limit.
    fn bomb() -> Vec<u8> {
        miniz_oxide::deflate::compress_to_vec(&vec![b'x'; LARGEST + 1], 6)
    }
}
