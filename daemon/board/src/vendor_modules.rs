// SPDX-License-Identifier: MIT OR Apache-2.0

//! Installed kernel modules that may register heaps of a vendor.

use crate::Problem;
use crate::aliases;
use crate::root::Root;

/// Directory of heap drivers in a kernel's source, and so among its modules.
const HEAPS: &str = "/drivers/dma-buf/heaps/";
/// Modules of kernel.org with a matching name that register no heap for a GPU.
const KNOWN: [&str; 4] = ["cma_heap", "protheap", "system_heap", "test_heap"];
/// Maximum length of a module's name: `MODULE_NAME_LEN` of 64-bit kernels, with its terminator.
const LONGEST: usize = 56;
/// Maximum number of modules that are returned.
const MOST: usize = 16;

/// Returns the names of the modules of `release` that may register a heap: those from the kernel's
/// directory of heap drivers, and those from elsewhere whose name has the word `heap`. The names
/// are sorted, and have an underscore in place of each hyphen, as in `/sys/module`.
pub fn read(root: &Root, release: &str, problems: &mut Vec<Problem>) -> Vec<String> {
    let mut found = Vec::new();
    // One `PATH: DEPENDENCY...` per line.
    aliases::each_piece(root, release, "modules.dep", b'\n', problems, &mut |line| {
        let path = line.split(|byte| *byte == b':').next().unwrap_or_default();
        found.extend(std::str::from_utf8(path).ok().and_then(heap_module));
        found.len() < MOST
    });
    found.sort();
    found.dedup();
    found
}

/// Returns the name of the module at `path` if it may register a heap.
fn heap_module(path: &str) -> Option<String> {
    let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
    let (name, _) = file.split_once(".ko")?;
    let name = name.replace('-', "_");
    let is_heap = format!("/{directory}/").ends_with(HEAPS)
        || name.split('_').any(|word| matches!(word, "heap" | "heaps"));
    let is_name = !name.is_empty()
        && name.len() < LONGEST
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (is_heap && is_name && !KNOWN.contains(&name.as_str())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    #[test]
    fn modules_of_heaps_are_found_by_directory_and_name() {
        let tree = Tree::new();
        tree.file(
            "lib/modules/6.1/modules.dep",
            "kernel/drivers/dma-buf/heaps/restricted_heap_linaro.ko: kernel/a.ko\n\
             kernel/drivers/dma-buf/heaps/mtk-svp.ko.zst:\n\
             kernel/drivers/dma-buf/heaps/system_heap.ko:\n\
             kernel/lib/cheaper.ko:\n\
             extra/acme-secure-heap.ko.xz:\n\
             updates/acme secure heap.ko:\n\
             extra/protheap.ko:\n\
             kernel/drivers/dma-buf/heaps/notes.txt:\n",
        );
        let mut problems = Vec::new();
        let found = read(&tree.root(), "6.1", &mut problems);
        assert_eq!(found, ["acme_secure_heap", "mtk_svp", "restricted_heap_linaro"]);
        assert_eq!(read(&tree.root(), "6.2", &mut problems), [""; 0]);
        assert!(problems.is_empty(), "{problems:?}");
    }
}
