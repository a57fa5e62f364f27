// SPDX-License-Identifier: MIT OR Apache-2.0

//! Detects running programs.

use protheap_board::root::Root;

/// Target of `/proc/self/ns/pid` in the PID namespace that contains all processes. The number is
/// the kernel's (`PID_NS_INIT_INO` in `linux/nsfs.h`).
const ALL: &str = "pid:[4026531836]";

/// Returns whether root runs a program of this name, which has at most 15 bytes. Returns `None` if
/// not all processes are visible.
pub(crate) fn runs(root: &Root, program: &str) -> Option<bool> {
    let mut problems = Vec::new();
    let mut is = |process: &str| -> Option<bool> {
        let name = root.text(&format!("proc/{process}/comm"), &mut problems)?;
        if name != program {
            return Some(false);
        }
        // Any user can give a process any name.
        let status = root.text(&format!("proc/{process}/status"), &mut problems)?;
        let real = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        Some(real.split_ascii_whitespace().next() == Some("0"))
    };
    if root.link("proc/self/ns/pid")? != ALL {
        return None;
    }
    // With `hidepid`, processes of other users are missing or unreadable.
    is("1")?;
    let processes = root.list("proc", &mut Vec::new());
    let number = |name: &&String| name.bytes().all(|byte| byte.is_ascii_digit());
    Some(processes.iter().filter(number).any(|process| is(process) == Some(true)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protheap_board::testing::Tree;

    fn process(tree: &Tree, number: u32, name: &str, user: u32) {
        tree.file(&format!("proc/{number}/comm"), format!("{name}\n"));
        let status = format!("Name:\t{name}\nUid:\t{user}\t0\t0\t0\nGid:\t0\t0\t0\t0\n");
        tree.file(&format!("proc/{number}/status"), status);
    }

    #[test]
    fn only_processes_of_root_count() {
        let tree = Tree::new();
        let found = || runs(&tree.root(), "protheapd");
        assert_eq!(found(), None);
        process(&tree, 1, "systemd", 0);
        assert_eq!(found(), None);
        tree.link(ALL, "proc/self/ns/pid");
        assert_eq!(found(), Some(false));
        process(&tree, 20, "protheapd", 1000);
        process(&tree, 30, "protheapd-other", 0);
        assert_eq!(found(), Some(false));
        process(&tree, 40, "protheapd", 0);
        assert_eq!(found(), Some(true));
    }

    #[test]
    fn hidden_processes_make_the_result_unknown() {
        let tree = Tree::new();
        tree.link(ALL, "proc/self/ns/pid");
        process(&tree, 20, "bash", 1000);
        assert_eq!(runs(&tree.root(), "protheapd"), None);
        let other = Tree::new();
        other.link("pid:[4026532777]", "proc/self/ns/pid");
        process(&other, 1, "protheapd", 0);
        assert_eq!(runs(&other.root(), "protheapd"), None);
    }
}
