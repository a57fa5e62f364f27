// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the kernel offers.

use protheap_core::facts::{Kernel, Module};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::root::Root;
use crate::{Problem, aliases};

/// protheap.ko's directory in configfs.
pub const CONFIGFS: &str = "sys/kernel/config/protheap";
const LOCKDOWN: &str = "sys/kernel/security/lockdown";

/// Reads release, lockdown, and what protheap.ko says of itself; not panthor's parameter.
pub fn read(root: &Root, problems: &mut Vec<Problem>) -> Kernel {
    Kernel {
        release: release(root, problems),
        lockdown: lockdown(root, problems),
        module: module(root, problems),
        parameter: None,
    }
}

/// `uname -r`; of another machine's tree, the kernel whose modules it has.
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
                let message = format!("has more than one kernel ({names}): none is assumed");
                problems.push(Problem::new(root.shown(path), message));
                return String::new();
            }
        }
    }
    String::new()
}

/// The kernel shows `none [integrity] confidentiality`, or has no lockdown at all.
fn lockdown(root: &Root, problems: &mut Vec<Problem>) -> bool {
    let before = problems.len();
    match root.text(LOCKDOWN, problems) {
        Some(levels) => !levels.contains("[none]"),
        // What cannot be read is not taken for permission.
        None => problems.len() > before,
    }
}

fn module(root: &Root, problems: &mut Vec<Problem>) -> Option<Module> {
    let path = format!("{CONFIGFS}/abi");
    let abi = root.text(&path, problems)?;
    let Ok(abi) = abi.parse() else {
        let message = format!("reads {abi:?}, which is no version: the module is not used");
        problems.push(Problem::new(root.shown(&path), message));
        return None;
    };
    let sources = root.text(&format!("{CONFIGFS}/sources"), problems).unwrap_or_default();
    Some(Module { abi, sources: sources.split_ascii_whitespace().map(str::to_owned).collect() })
}

/// protheap.ko is there, and what it says of itself may not be read: that needs root.
pub fn hides_module(root: &Root) -> bool {
    let opened = root.open_at(&format!("{CONFIGFS}/abi"), OFlags::RDONLY);
    matches!(opened, Err(Errno::ACCESS | Errno::PERM))
}

/// A file of the module `name` is among those of the kernel `release`.
pub fn has_module(root: &Root, release: &str, name: &str, problems: &mut Vec<Problem>) -> bool {
    let mut found = false;
    // `PATH: DEPENDENCY...`, a line each.
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
    use crate::root::tests::Tree;

    #[test]
    fn reads_what_the_kernel_shows() {
        let tree = Tree::new();
        let mut problems = Vec::new();
        assert_eq!(read(&tree.root(), &mut problems), Kernel::default());
        assert_eq!(problems, []);

        tree.directory("usr/lib/modules/7.3.4-arm64");
        tree.file(LOCKDOWN, "none [integrity] confidentiality\n");
        tree.file(&format!("{CONFIGFS}/abi"), "1\n");
        tree.file(&format!("{CONFIGFS}/sources"), "handed kernel\n");
        let kernel = read(&tree.root(), &mut problems);
        assert_eq!(kernel.release, "7.3.4-arm64");
        assert!(kernel.lockdown);
        let module = kernel.module.unwrap();
        assert_eq!(module.abi, 1);
        assert_eq!(module.sources, ["handed", "kernel"]);
        assert_eq!(problems, []);

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
    fn a_module_that_can_be_loaded_is_known_by_its_file() {
        let tree = Tree::new();
        let dep = "updates/protheap-old.ko:\nupdates/dkms/protheap.ko.xz: kernel/x/panthor.ko\n";
        tree.file("lib/modules/7.3.4/modules.dep", dep);
        let has = |name| has_module(&tree.root(), "7.3.4", name, &mut Vec::new());
        assert!(has("protheap") && has("protheap-old"));
        assert!(!has("panthor") && !has("prothea"));
        assert!(!hides_module(&tree.root()));
    }

    #[test]
    fn a_lockdown_that_cannot_be_read_is_one() {
        let tree = Tree::new();
        tree.directory(LOCKDOWN);
        let mut problems = Vec::new();
        assert!(read(&tree.root(), &mut problems).lockdown);
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn the_running_machine_has_a_release() {
        let root = Root::open(std::path::Path::new("/")).unwrap();
        let release = read(&root, &mut Vec::new()).release;
        let shown = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(release, shown.trim_end());
    }
}
