// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reads the trusted execution environments that have registered.

use protheap_core::facts::Tee;

use crate::Problem;
use crate::root::Root;

const CLASS: &str = "sys/class/tee";

/// Reads `/sys/class/tee/tee*`, sorted by name.
pub fn read(root: &Root, problems: &mut Vec<Problem>) -> Vec<Tee> {
    let mut tees = Vec::new();
    for name in root.list(CLASS, problems) {
        // Each `tee0` has a `teepriv0`, the same TEE for its supplicant.
        let number = name.strip_prefix("tee").unwrap_or_default();
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let Some(implementation) =
            root.text(&format!("{CLASS}/{name}/implementation_id"), problems)
        else {
            continue;
        };
        let implementation = match implementation.as_str() {
            "1" => "optee".to_owned(),
            "2" => "amdtee".to_owned(),
            "3" => "tstee".to_owned(),
            "4" => "qtee".to_owned(),
            _ => implementation,
        };
        let revision = root.text(&format!("{CLASS}/{name}/revision"), problems);
        let revision = revision.and_then(|r| r.split_ascii_whitespace().next().map(str::to_owned));
        tees.push(Tee { implementation, revision });
    }
    tees
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    #[test]
    fn read_returns_implementation_and_revision() {
        let tree = Tree::new();
        let mut problems = Vec::new();
        assert_eq!(read(&tree.root(), &mut problems), []);
        tree.file("sys/class/tee/tee0/implementation_id", "1\n");
        tree.file("sys/class/tee/tee0/revision", "4.6 (00000000deadbeef)\n");
        tree.file("sys/class/tee/teepriv0/implementation_id", "1\n");
        tree.file("sys/class/tee/tee1/implementation_id", "9\n");
        tree.directory("sys/class/tee/tee2");
        let tee = |implementation: &str, revision: Option<&str>| Tee {
            implementation: implementation.to_owned(),
            revision: revision.map(str::to_owned),
        };
        assert_eq!(read(&tree.root(), &mut problems), [tee("optee", Some("4.6")), tee("9", None)]);
        assert_eq!(problems, []);
    }
}
