// SPDX-License-Identifier: MIT OR Apache-2.0

//! The device tree as the kernel shows it: a directory is a node, and a file contains the bytes of
//! a property (`Documentation/ABI/testing/sysfs-firmware-ofw`).

use protheap_board::Problem;
use protheap_board::root::Root;

use super::{DEEPEST, DeviceTree, MOST_BYTES, MOST_NODES, MOST_RANGES, Property, is_node_name};

/// Path of the tree.
const TREE: &str = "sys/firmware/devicetree/base";
/// Maximum size of a property, in bytes.
const LONGEST: usize = 64 * 1024;

/// A directory that is not read yet.
struct Unread {
    path: String,
    parent: Option<usize>,
    depth: usize,
}

impl DeviceTree {
    /// Reads the device tree that the kernel of `root` shows. A machine without one has no nodes.
    pub fn of_root(root: &Root, problems: &mut Vec<Problem>) -> Self {
        let mut tree = Self::default();
        let mut unread = vec![Unread { path: TREE.to_owned(), parent: None, depth: 1 }];
        while let Some(Unread { path, parent, depth }) = unread.pop() {
            let name = parent.and_then(|_| path.rsplit('/').next()).unwrap_or_default();
            let node = tree.open(parent, name);
            let mut children = Vec::new();
            let room = MOST_NODES - tree.nodes.len() - unread.len();
            root.each(&path, problems, &mut |name, problems| {
                let path = format!("{path}/{name}");
                if let Some(property) = known(name) {
                    tree.read(root, &path, property, problems);
                } else if children.len() <= room && is_directory(root, &path, problems) {
                    children.push(path);
                }
            });
            let mut refuse = |message: String| {
                problems.push(Problem::new(root.shown(&path), message));
            };
            if depth == DEEPEST && !children.is_empty() {
                refuse(format!("is nested {DEEPEST} levels deep, skipping the nodes below it"));
                children.clear();
            }
            if children.len() > room {
                refuse(format!(
                    "is in a tree of more than {MOST_NODES} nodes, skipping the nodes below it"
                ));
                children.clear();
            }
            children.sort_unstable();
            let unread_child = |path| Unread { path, parent: Some(node), depth: depth + 1 };
            unread.extend(children.into_iter().rev().map(unread_child));
        }
        tree.translate_all();
        tree
    }

    /// Reads the property at `path` of the node that was added last.
    fn read(&mut self, root: &Root, path: &str, property: Property, problems: &mut Vec<Problem>) {
        let Some(value) = root.read(path, LONGEST, problems) else {
            return;
        };
        let mut refuse = |why: String| {
            problems.push(Problem::new(root.shown(path), format!("{why}, skipping it")));
        };
        if self.values.len() + value.len() > MOST_BYTES {
            refuse(format!("is in a tree of more than {MOST_BYTES} bytes"));
        } else if !self.keep(property, &value) {
            refuse(format!("makes `ranges` of more than {MOST_RANGES} bytes on one path"));
        }
    }
}

fn known(name: &str) -> Option<Property> {
    let known = Property::NAMES.iter().find(|(_, known)| known.to_bytes() == name.as_bytes());
    known.map(|(property, _)| *property)
}

/// Returns whether a child node is at `path`. A link does not count: the kernel creates none, and
/// it could point to a parent.
fn is_directory(root: &Root, path: &str, problems: &mut Vec<Problem>) -> bool {
    if !root.is_real_directory(path, problems) {
        return false;
    }
    let is_node = is_node_name(path.rsplit('/').next().unwrap_or_default());
    if !is_node {
        let message = "has an invalid node name, skipping it";
        problems.push(Problem::new(root.shown(path), message));
    }
    is_node
}
