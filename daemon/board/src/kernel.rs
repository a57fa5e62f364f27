// SPDX-License-Identifier: MIT OR Apache-2.0

//! Properties of the kernel.

use protheap_core::facts::{Kernel, Module};

use rustix::fs::{OFlags, fstat};
use rustix::io::Errno;

use crate::root::{Root, file_system};
use crate::sysfs::FileSystem;
use crate::{Problem, aliases};

/// configfs directory of protheap.ko.
pub const CONFIGFS: &str = "sys/kernel/config/protheap";
const SECURITYFS: &str = "sys/kernel/security";
/// `SECURITYFS_MAGIC` of `linux/magic.h`.
const SECURITYFS_MAGIC: i64 = 0x7363_6673;
/// Inode of the top directory of securityfs, on every mount; directories below it have other
/// inodes.
const SECURITYFS_TOP: u64 = 1;

/// Reads the release, the lockdown state and the properties of protheap.ko. Does not read the
/// parameter of panthor.
pub fn read(root: &Root, problems: &mut Vec<Problem>) -> Kernel {
    Kernel {
        release: release(root, problems),
        lockdown: lockdown(root, problems),
        module: module(root, problems),
        parameter: None,
    }
}

/// Returns `uname -r`. For another machine's tree, returns the release whose modules it contains.
fn release(root: &Root, problems: &mut Vec<Problem>) -> String {
    if root.is_running() {
        return rustix::system::uname().release().to_string_lossy().into_owned();
    }
    for path in ["lib/modules", "usr/lib/modules"] {
        let mut names = root.list(path, problems);
        match names.len() {
            0 => {}
            1 => return names.remove(0),
            _ => {
                let names = names.join(", ");
                let message =
                    format!("has modules of several kernels ({names}), assuming none of them");
                problems.push(Problem::new(root.shown(path), message));
                return String::new();
            }
        }
    }
    String::new()
}

/// Returns whether the kernel is locked down, by securityfs or by protheap.ko. If neither can be
/// read, it counts as locked down.
fn lockdown(root: &Root, problems: &mut Vec<Problem>) -> bool {
    match (by_securityfs(root, problems), by_module(root, problems)) {
        (Some(false), None | Some(false)) | (None, Some(false)) => false,
        // Unknown: a running kernel counts as locked down, a tree of files does not.
        (None, None) => root.is_running(),
        (Some(true), _) | (_, Some(true)) => true,
    }
}

/// Reads the lockdown state from securityfs, which shows `none [integrity] confidentiality`, or has
/// no such file if the kernel has no lockdown support. Returns `None` if securityfs is not mounted
/// or is hidden.
fn by_securityfs(root: &Root, problems: &mut Vec<Problem>) -> Option<bool> {
    let before = problems.len();
    match root.kernel_text(SECURITYFS, "lockdown", SECURITYFS_MAGIC, problems) {
        Some(levels) => Some(levels.split_ascii_whitespace().all(|level| level != "[none]")),
        // An unreadable file counts as locked down.
        None if problems.len() > before => Some(true),
        None => has_no_lockdown(root).then_some(false),
    }
}

/// Returns whether all of securityfs is visible and has no file for lockdown.
fn has_no_lockdown(root: &Root) -> bool {
    let Ok(top) = root.open_at(SECURITYFS, OFlags::PATH | OFlags::DIRECTORY) else { return false };
    root.link_stat(&format!("{SECURITYFS}/lockdown")).is_err_and(|errno| errno == Errno::NOENT)
        && file_system(&top) == Ok(SECURITYFS_MAGIC)
        && fstat(&top).is_ok_and(|stat| stat.st_ino == SECURITYFS_TOP)
}

/// Reads the lockdown state from protheap.ko, which shows `1` or `0`. Returns `None` if the module
/// is not loaded, configfs is not mounted, the module does not report it, or this user may not read
/// it.
fn by_module(root: &Root, problems: &mut Vec<Problem>) -> Option<bool> {
    if hides_module(root) {
        return None;
    }
    let before = problems.len();
    let magic = i64::try_from(FileSystem::Configfs.magic()).ok()?;
    match root.kernel_text(CONFIGFS, "locked_down", magic, problems) {
        Some(word) => Some(word != "0"),
        None => (problems.len() > before).then_some(true),
    }
}

fn module(root: &Root, problems: &mut Vec<Problem>) -> Option<Module> {
    let path = format!("{CONFIGFS}/abi");
    let abi = root.text(&path, problems)?;
    let Ok(abi) = abi.parse() else {
        let message = format!("has the invalid version {abi:?}, ignoring the module");
        problems.push(Problem::new(root.shown(&path), message));
        return None;
    };
    let can_allocate = root.text(&format!("{CONFIGFS}/can_allocate"), problems);
    Some(Module { abi, can_allocate: can_allocate.as_deref() == Some("1") })
}

/// Returns whether protheap.ko is loaded but its attributes may not be read, which requires root.
pub fn hides_module(root: &Root) -> bool {
    let opened = root.open_at(&format!("{CONFIGFS}/abi"), OFlags::RDONLY);
    matches!(opened, Err(Errno::ACCESS | Errno::PERM))
}

/// Returns whether the module `name` is among those of the kernel `release`.
pub fn has_module(root: &Root, release: &str, name: &str, problems: &mut Vec<Problem>) -> bool {
    let mut found = false;
    // One `PATH: DEPENDENCY...` per line.
    aliases::each_piece(root, release, "modules.dep", b'\n', problems, &mut |line| {
        let path = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let file = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let rest = file.strip_prefix(name.as_bytes());
        found |= rest.is_some_and(|rest| rest.starts_with(b".ko"));
        !found
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    const LOCKDOWN: &str = "sys/kernel/security/lockdown";

    #[test]
    fn read_returns_release_lockdown_and_module() {
        let tree = Tree::new();
        let mut problems = Vec::new();
        assert_eq!(read(&tree.root(), &mut problems), Kernel::default());
        assert_eq!(problems, []);

        tree.directory("usr/lib/modules/7.3.4-arm64");
        tree.file(LOCKDOWN, "none [integrity] confidentiality\n");
        tree.file(&format!("{CONFIGFS}/abi"), "1\n");
        tree.file(&format!("{CONFIGFS}/can_allocate"), "1\n");
        let kernel = read(&tree.root(), &mut problems);
        assert_eq!(kernel.release, "7.3.4-arm64");
        assert!(kernel.lockdown);
        let module = kernel.module.unwrap();
        assert_eq!(module, Module { abi: 1, can_allocate: true });
        assert_eq!(problems, []);
        tree.file(&format!("{CONFIGFS}/can_allocate"), "0\n");
        assert!(!read(&tree.root(), &mut problems).module.unwrap().can_allocate);

        tree.file(LOCKDOWN, "[none] integrity confidentiality\n");
        tree.file(&format!("{CONFIGFS}/abi"), "one\n");
        tree.directory("usr/lib/modules/7.3.5-arm64");
        let kernel = read(&tree.root(), &mut problems);
        assert!(!kernel.lockdown);
        assert_eq!(kernel.module, None);
        assert_eq!(kernel.release, "");
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn has_module_finds_modules_by_file_name() {
        let tree = Tree::new();
        let dep = "updates/protheap-old.ko:\nupdates/dkms/protheap.ko.xz: kernel/x/panthor.ko\n";
        tree.file("lib/modules/7.3.4/modules.dep", dep);
        let has = |name| has_module(&tree.root(), "7.3.4", name, &mut Vec::new());
        assert!(has("protheap") && has("protheap-old"));
        assert!(!has("panthor") && !has("prothea"));
        assert!(!hides_module(&tree.root()));
    }

    #[test]
    fn unreadable_lockdown_file_counts_as_locked_down() {
        let tree = Tree::new();
        tree.directory(LOCKDOWN);
        let mut problems = Vec::new();
        assert!(read(&tree.root(), &mut problems).lockdown);
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn securityfs_or_module_can_report_lockdown() {
        let tree = Tree::new();
        let locked = || lockdown(&tree.root(), &mut Vec::new());
        let module = format!("{CONFIGFS}/locked_down");
        tree.file(&module, "1\n");
        assert!(locked());
        tree.file(LOCKDOWN, "[none] integrity confidentiality\n");
        assert!(locked());
        tree.file(&module, "0\n");
        assert!(!locked());
        for levels in ["", "none", "x[none]", "none [integrity]", "none [confidentiality]\n"] {
            tree.file(LOCKDOWN, levels);
            assert!(locked(), "{levels}");
        }
        tree.file(LOCKDOWN, "[none]\n");
        tree.file(&module, "perhaps\n");
        assert!(locked());
    }

    #[test]
    fn read_returns_the_release_of_the_running_kernel() {
        let root = Root::open(std::path::Path::new("/")).unwrap();
        let release = read(&root, &mut Vec::new()).release;
        let shown = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(release, shown.trim_end());
    }
}
