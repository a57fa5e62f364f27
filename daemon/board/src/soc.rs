// SPDX-License-Identifier: MIT OR Apache-2.0

//! Identification of the system on chip, if a driver exposes it.

use protheap_core::facts::Soc;

use crate::Problem;
use crate::root::Root;

const DEVICES: &str = "sys/bus/soc/devices";

/// Reads `/sys/bus/soc/devices`, sorted by name (Documentation/ABI/testing/sysfs-devices-soc).
pub fn read(root: &Root, problems: &mut Vec<Problem>) -> Vec<Soc> {
    let mut socs = Vec::new();
    for name in root.list(DEVICES, problems) {
        let mut text = |attribute| {
            root.text(&format!("{DEVICES}/{name}/{attribute}"), problems)
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
        };
        let soc = Soc { id: text("soc_id"), revision: text("revision") };
        if soc != Soc::default() {
            socs.push(soc);
        }
    }
    socs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    #[test]
    fn read_returns_id_and_revision() {
        let tree = Tree::new();
        let mut problems = Vec::new();
        assert_eq!(read(&tree.root(), &mut problems), []);
        tree.link("../../../devices/soc0", &format!("{DEVICES}/soc0"));
        tree.file("sys/devices/soc0/soc_id", "i.MX95\n");
        tree.file("sys/devices/soc0/revision", "2.0\n");
        tree.file(&format!("{DEVICES}/soc1/soc_id"), "jep106:0070:9500\n");
        tree.file(&format!("{DEVICES}/soc2/machine"), "a board\n");
        let soc = |id: &str, revision: Option<&str>| Soc {
            id: Some(id.to_owned()),
            revision: revision.map(str::to_owned),
        };
        let expected = [soc("i.MX95", Some("2.0")), soc("jep106:0070:9500", None)];
        assert_eq!(read(&tree.root(), &mut problems), expected);
        assert_eq!(problems, []);
    }
}
