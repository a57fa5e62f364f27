// SPDX-License-Identifier: MIT OR Apache-2.0

//! Size of the contiguous memory allocator (CMA), from which a TEE can allocate a heap's pool.

use protheap_core::facts::Cma;

use crate::root::Root;

const MEMINFO: &str = "proc/meminfo";

/// Reads `CmaTotal` and `CmaFree`, in KiB. Returns `None` if the kernel has no CMA or `/proc` is
/// not mounted.
pub fn read(root: &Root) -> Option<Cma> {
    let text = root.text(MEMINFO, &mut Vec::new())?;
    let number = |name: &str| {
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().strip_suffix(" kB")?.parse().ok()
    };
    Some(Cma { total: number("CmaTotal")?, free: number("CmaFree")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    #[test]
    fn read_finds_cma_in_meminfo() {
        let tree = Tree::new();
        assert_eq!(read(&tree.root()), None);
        tree.file("proc/meminfo", "MemTotal:  994724 kB\n");
        assert_eq!(read(&tree.root()), None);
        let meminfo = "MemTotal:  994724 kB\nCmaTotal:      65536 kB\nCmaFree:         784 kB\n";
        tree.file("proc/meminfo", meminfo);
        assert_eq!(read(&tree.root()), Some(Cma { total: 65_536, free: 784 }));
    }
}
