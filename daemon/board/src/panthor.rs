// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reads panthor's parameter `protected_heap_name`, which only a kernel with that proposal has, and
//! writes the modprobe option that sets it.

use protheap_core::facts::Parameter;
use protheap_policy::name::HeapName;
use rustix::fs::{AtFlags, OFlags, unlinkat};
use rustix::io::Errno;

use crate::root::{Failed, Root};
use crate::run::RunDirectory;
use crate::{Problem, aliases, firmware};

/// Exists if the driver is loaded, or is built in and has parameters.
const LOADED: &str = "sys/module/panthor";
const PARAMETER: &str = "sys/module/panthor/parameters/protected_heap_name";
/// Declaration of the parameter in a module file (`module_param()`, linux/moduleparam.h).
const DECLARED: &[u8] = b"\0parmtype=protected_heap_name:charp\0";

const DIRECTORY: &str = "modprobe.d";
const FILE: &str = "protheap-panthor.conf";
/// A line for modprobe, up to the heap name.
const OPTION: &str = "options panthor protected_heap_name=";

/// Returns the state of the parameter. Returns `None` if panthor does not have it, or if
/// protheap.ko can be loaded instead.
///
/// A `daemon` does not set the parameter before the driver is loaded: it gets the value that
/// modprobe is going to set.
pub fn read(
    root: &Root,
    release: &str,
    daemon: bool,
    problems: &mut Vec<Problem>,
) -> Option<Parameter> {
    if is_loaded(root) {
        return value(root, problems).map(Parameter::Set);
    }
    let path = module(root, release, problems)?;
    let read = root
        .open_at(&path, OFlags::RDONLY)
        // A tree may lack the link from /lib.
        .or_else(|_| root.open_at(&format!("usr/{path}"), OFlags::RDONLY))
        .map_err(Failed::from)
        .and_then(|file| firmware::unpacked(file, &path));
    let bytes = root.note(&path, read, problems)?;
    if !bytes.windows(DECLARED.len()).any(|window| window == DECLARED) {
        return None;
    }
    if !daemon {
        return Some(Parameter::Open);
    }
    Some(Parameter::Set(named_heap(root, problems).unwrap_or_default()))
}

/// Returns the heap name that an earlier run wrote.
pub fn named_heap(root: &Root, problems: &mut Vec<Problem>) -> Option<String> {
    let options = root.text(&format!("run/{DIRECTORY}/{FILE}"), problems)?;
    options.strip_prefix(OPTION).map(str::to_owned)
}

fn is_loaded(root: &Root) -> bool {
    root.open_at(LOADED, OFlags::PATH).is_ok()
}

fn value(root: &Root, problems: &mut Vec<Problem>) -> Option<String> {
    root.text(PARAMETER, problems)
}

/// Returns the path of panthor's file among the modules of `release`, unless protheap.ko is one of
/// them.
fn module(root: &Root, release: &str, problems: &mut Vec<Problem>) -> Option<String> {
    let (mut panthor, mut protheap) = (None, false);
    // One `PATH: DEPENDENCY...` per line.
    aliases::each_piece(root, release, "modules.dep", b'\n', problems, &mut |line| {
        let path = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if name.starts_with(b"panthor.ko") {
            panthor = std::str::from_utf8(path).ok().map(str::to_owned);
        }
        protheap |= name.starts_with(b"protheap.ko");
        !protheap
    });
    let path = panthor.filter(|_| !protheap)?;
    let known = [".ko", ".ko.xz", ".ko.zst"].iter().any(|end| path.ends_with(end));
    let path = format!("lib/modules/{release}/{path}");
    if !known {
        let message = "has an unknown compression, assuming that it has no protected_heap_name";
        problems.push(Problem::new(root.shown(&path), message));
    }
    known.then_some(path)
}

/// Configures modprobe to load panthor with the name of `heap`.
///
/// # Errors
///
/// Returns an error if the name is not safe in a modprobe configuration, the file was not written,
/// or panthor was loaded without it. The file does not exist then.
pub fn name_heap(root: &Root, heap: &HeapName) -> Result<(), Problem> {
    let named = try_to_name(root, heap);
    if named.is_err() {
        forget_heap(root)?;
    }
    named
}

fn try_to_name(root: &Root, heap: &HeapName) -> Result<(), Problem> {
    let failed =
        |message: &str| Problem::new(root.shown(&format!("run/{DIRECTORY}/{FILE}")), message);
    // The kernel and the implementations of modprobe parse quotes differently, and some parse
    // comments.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b",.:@+_-".contains(&byte);
    if !heap.as_str().bytes().all(plain) {
        return Err(failed(
            "failed to write the heap's name: only letters, digits and `,.:@+_-` are allowed in a \
             module option",
        ));
    }
    let option = format!("{OPTION}{heap}");
    RunDirectory::named(root, DIRECTORY)?.replace(FILE, format!("{option}\n").as_bytes())?;
    let mut problems = Vec::new();
    if root.text(&format!("run/{DIRECTORY}/{FILE}"), &mut problems) != Some(option) {
        return Err(failed(
            "differs from what was written; check whether another program writes to it",
        ));
    }
    if is_loaded(root) && value(root, &mut problems).is_none_or(|value| value != heap.as_str()) {
        return Err(failed(
            "was written too late: panthor was loaded before its heap was selected",
        ));
    }
    Ok(())
}

/// Removes the file that [`name_heap`] wrote, in this run or an earlier one.
///
/// # Errors
///
/// Returns an error if the file could not be removed.
pub fn forget_heap(root: &Root) -> Result<(), Problem> {
    let path = format!("run/{DIRECTORY}");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let removed = root.open_at(&path, flags).and_then(|run| unlinkat(&run, FILE, AtFlags::empty()));
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => {
            let path = root.shown(&format!("{path}/{FILE}"));
            Err(Problem::new(path, format!("failed to remove: {e}; remove it by hand")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const RELEASE: &str = "7.3.4";
    const OPTIONS: &str = "run/modprobe.d/protheap-panthor.conf";

    fn heap(name: &str) -> HeapName {
        HeapName::new(name).unwrap()
    }

    /// Creates panthor's module with this file name and content.
    fn with_module(tree: &Tree, name: &str, content: &[u8]) {
        let dep = format!("kernel/a/other.ko:\nkernel/b/{name}: kernel/a/other.ko\n");
        tree.file("usr/lib/modules/7.3.4/modules.dep", dep);
        tree.file(&format!("usr/lib/modules/7.3.4/kernel/b/{name}"), content);
    }

    fn reads(tree: &Tree, daemon: bool) -> (Option<Parameter>, usize) {
        let mut problems = Vec::new();
        (read(&tree.root(), RELEASE, daemon, &mut problems), problems.len())
    }

    #[test]
    fn read_detects_the_parameter_in_the_module_file() {
        let tree = Tree::new();
        assert_eq!(reads(&tree, false), (None, 0));
        let with = b"\x7fELF\0license=GPL\0parmtype=protected_heap_name:charp\0\0";
        with_module(&tree, "panthor.ko", with);
        assert_eq!(reads(&tree, false), (Some(Parameter::Open), 0));
        // protheap.ko takes precedence.
        tree.file("usr/lib/modules/7.3.4/modules.dep", "b/panthor.ko:\nupdates/protheap.ko.xz:\n");
        assert_eq!(reads(&tree, false), (None, 0));
        let other = b"\x7fELF\0parmtype=my_protected_heap_name:charp\0";
        with_module(&tree, "panthor.ko", other);
        assert_eq!(reads(&tree, false), (None, 0));
        // An unreadable module is reported and treated as one without the parameter.
        with_module(&tree, "panthor.ko.gz", with);
        assert_eq!(reads(&tree, false), (None, 1));
        with_module(&tree, "panthor.ko.xz", b"damaged");
        assert_eq!(reads(&tree, false), (None, 1));
    }

    #[test]
    fn read_returns_the_parameter_of_a_loaded_driver() {
        let tree = Tree::new();
        tree.directory(LOADED);
        assert_eq!(reads(&tree, false), (None, 0));
        tree.file(PARAMETER, "protected,secure-video\n");
        let set = Some(Parameter::Set("protected,secure-video".into()));
        assert_eq!(reads(&tree, false), (set, 0));
    }

    #[test]
    fn daemon_reads_the_value_that_modprobe_will_set() {
        let tree = Tree::new();
        with_module(&tree, "panthor.ko", DECLARED);
        assert_eq!(reads(&tree, true).0, Some(Parameter::Set(String::new())));
        tree.directory("run");
        name_heap(&tree.root(), &heap("protected,secure-video")).unwrap();
        let set = Some(Parameter::Set("protected,secure-video".into()));
        assert_eq!(reads(&tree, true).0, set);
    }

    #[test]
    fn name_heap_writes_a_readable_file_and_forget_heap_removes_it() {
        let tree = Tree::new();
        tree.directory("run");
        let root = tree.root();
        forget_heap(&root).unwrap();
        assert!(!tree.0.join("run/modprobe.d").exists());
        name_heap(&root, &heap("linux,cma@4_0:1+x.y")).unwrap();
        let path = tree.0.join(OPTIONS);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "options panthor protected_heap_name=linux,cma@4_0:1+x.y\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        assert_eq!(fs::read_dir(tree.0.join("run/modprobe.d")).unwrap().count(), 1);
        forget_heap(&root).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn name_heap_rejects_unsafe_names_and_removes_the_file() {
        for name in ["a\"b", "a'b", "a#b", "a\\", "$(reboot)", "a;b", "a=b", "`x`"] {
            let tree = Tree::new();
            tree.file(OPTIONS, "options panthor protected_heap_name=old\n");
            let problem = name_heap(&tree.root(), &heap(name)).unwrap_err();
            assert!(problem.path.ends_with(OPTIONS), "{problem}");
            assert!(!tree.0.join(OPTIONS).exists(), "{name}");
        }
    }

    #[test]
    fn name_heap_fails_if_panthor_is_already_loaded() {
        let tree = Tree::new();
        tree.directory("run");
        tree.file(PARAMETER, "(null)\n");
        let problem = name_heap(&tree.root(), &heap("a")).unwrap_err();
        assert!(problem.message.contains("too late"), "{problem}");
        assert!(!tree.0.join(OPTIONS).exists());
        tree.file(PARAMETER, "a\n");
        name_heap(&tree.root(), &heap("a")).unwrap();
    }

    #[test]
    fn a_planted_link_is_not_followed() {
        let tree = Tree::new();
        tree.file("victim", "mine");
        tree.link("../../victim", OPTIONS);
        name_heap(&tree.root(), &heap("a")).unwrap();
        assert_eq!(fs::read(tree.0.join("victim")).unwrap(), b"mine");
        let tree = Tree::new();
        tree.file("elsewhere/protheap-panthor.conf", "mine");
        tree.link("../elsewhere", "run/modprobe.d");
        assert!(name_heap(&tree.root(), &heap("a")).is_err());
        assert!(tree.0.join("elsewhere/protheap-panthor.conf").exists());
    }
}
