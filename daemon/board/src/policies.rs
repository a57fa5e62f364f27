// SPDX-License-Identifier: MIT OR Apache-2.0

//! The policy files of one board: a handful of paths, however many policies are installed.

use std::collections::BTreeMap;
use std::fs::File;

use protheap_core::name::Key;
use rustix::fs::{FileType, OFlags, fstat, major, minor};
use rustix::io::Errno;

use crate::Problem;
use crate::root::{Failed, Root, bounded};

/// Where policies are looked for, the first wins by file name. Only the last is part of a signed
/// image.
const DIRECTORIES: [&str; 3] =
    ["etc/protheap/policies", "run/protheap/policies", "usr/lib/protheap/policies"];
/// The one file that says whether the other directories count.
const IMAGE: &str = "usr/lib/protheap/image.toml";
/// The longest policy that is read, in bytes.
const LONGEST: usize = protheap_core::fragment::LARGEST;

/// A policy file that applies to the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// The string that names it; drop-ins have the key of the file that they refine.
    pub key: Key,
    /// Where it is, with the root.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// Reads the files of `keys`, which go from general to specific: for each key the file, then its
/// drop-ins by name. That is the order in which they are merged.
///
/// Without `local`, only what is in `/usr/lib` counts. Masked files are left out; what cannot be
/// read is left out too, and told, and nothing of a lower directory takes its place.
pub fn read(
    root: &Root,
    keys: &[Key],
    local: bool,
    problems: &mut Vec<Problem>,
) -> Vec<PolicyFile> {
    let directories = if local { &DIRECTORIES[..] } else { &DIRECTORIES[2..] };
    let there = |path: &&&str| root.open_at(path, OFlags::PATH | OFlags::DIRECTORY).is_ok();
    let directories: Vec<&str> = directories.iter().filter(there).copied().collect();

    let mut files = Vec::new();
    for key in keys {
        for directory in &directories {
            let path = format!("{directory}/{key}.toml");
            if take(root, key, &path, &mut files, problems) {
                break;
            }
        }
        // By name, the first directory that has it wins.
        let mut drop_ins = BTreeMap::new();
        for directory in &directories {
            let directory = format!("{directory}/{key}.toml.d");
            root.each(&directory, problems, &mut |name, _| {
                if name.ends_with(".toml") && !name.starts_with('.') {
                    let path = || format!("{directory}/{name}");
                    drop_ins.entry(name.to_owned()).or_insert_with(path);
                }
            });
        }
        for path in drop_ins.values() {
            take(root, key, path, &mut files, problems);
        }
    }
    files
}

/// Reads `/usr/lib/protheap/image.toml`: path and text. `Err`: it is there and cannot be read.
///
/// # Errors
///
/// What is wrong with it.
pub fn image(root: &Root) -> Result<Option<(String, String)>, Problem> {
    match text(root, IMAGE) {
        Found::Nothing | Found::Mask => Ok(None),
        Found::Text(text) => Ok(Some((root.shown(IMAGE), text))),
        Found::Problem(message) => Err(Problem::new(root.shown(IMAGE), message)),
    }
}

/// Adds the file at `path` to `files`. False: there is none, look on.
fn take(
    root: &Root,
    key: &Key,
    path: &str,
    files: &mut Vec<PolicyFile>,
    problems: &mut Vec<Problem>,
) -> bool {
    match text(root, path) {
        Found::Nothing => return false,
        Found::Mask => {}
        Found::Text(text) => {
            files.push(PolicyFile { key: key.clone(), path: root.shown(path), text });
        }
        Found::Problem(message) => problems.push(Problem::new(root.shown(path), message)),
    }
    true
}

/// What is at a path.
enum Found {
    Nothing,
    /// An empty file, or a link to `/dev/null`.
    Mask,
    Text(String),
    Problem(String),
}

fn text(root: &Root, path: &str) -> Found {
    match try_text(root, path) {
        Ok(found) => found,
        Err(Failed::Errno(Errno::NOENT)) => match root.target(path) {
            // Another machine's tree has no `/dev/null`.
            Ok(target) if target == "/dev/null" => Found::Mask,
            Ok(target) => Found::Problem(format!("is a link to {target:?}, which does not exist")),
            Err(_) => Found::Nothing,
        },
        Err(Failed::Errno(Errno::NOTDIR)) => Found::Nothing,
        Err(e) => Found::Problem(e.to_string()),
    }
}

fn try_text(root: &Root, path: &str) -> Result<Found, Failed> {
    let file = root.open_at(path, OFlags::RDONLY)?;
    let stat = fstat(&file)?;
    let is_null = (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if stat.st_size == 0 => return Ok(Found::Mask),
        FileType::RegularFile => {}
        FileType::CharacterDevice if is_null => return Ok(Found::Mask),
        _ => return Ok(Found::Problem("is not a file".to_owned())),
    }
    let bytes = bounded(&mut File::from(file), stat.st_size, LONGEST)?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) => Found::Text(text),
        Err(e) => {
            let valid = e.utf8_error().valid_up_to();
            let line = 1 + e.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count();
            Found::Problem(format!("is not UTF-8: see line {line}"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::tests::Tree;

    fn keys(keys: &[&str]) -> Vec<Key> {
        keys.iter().map(|key| Key::new(key).unwrap()).collect()
    }

    fn texts(files: &[PolicyFile]) -> Vec<(&str, &str)> {
        files.iter().map(|file| (file.key.as_str(), file.text.as_str())).collect()
    }

    #[test]
    fn the_first_directory_wins_by_name_and_drop_ins_follow_their_file() {
        let tree = Tree::new();
        for (path, text) in [
            ("usr/lib/protheap/policies/default.toml", "lib default"),
            ("usr/lib/protheap/policies/acme,a9.toml", "lib a9"),
            ("usr/lib/protheap/policies/acme,a9.toml.d/20-b.toml", "lib 20"),
            ("usr/lib/protheap/policies/acme,a9.toml.d/10-a.toml", "lib 10"),
            ("run/protheap/policies/acme,a9.toml", "run a9"),
            ("run/protheap/policies/acme,a9.toml.d/15-c.toml", "run 15"),
            ("etc/protheap/policies/acme,a9.toml.d/20-b.toml", "etc 20"),
            ("etc/protheap/policies/acme,a9.toml.d/note.txt", "no"),
            ("etc/protheap/policies/acme,a9.toml.d/.10-a.toml.swp", "no"),
            ("etc/protheap/policies/acme,other.toml", "no"),
        ] {
            tree.file(path, text);
        }
        let mut problems = Vec::new();
        let asked = keys(&["default", "acme,soc", "acme,a9"]);
        let files = read(&tree.root(), &asked, true, &mut problems);
        let expected = [
            ("default", "lib default"),
            ("acme,a9", "run a9"),
            ("acme,a9", "lib 10"),
            ("acme,a9", "run 15"),
            ("acme,a9", "etc 20"),
        ];
        assert_eq!(texts(&files), expected);
        assert!(files[1].path.ends_with("/run/protheap/policies/acme,a9.toml"));
        let files = read(&tree.root(), &asked, false, &mut problems);
        let expected = [
            ("default", "lib default"),
            ("acme,a9", "lib a9"),
            ("acme,a9", "lib 10"),
            ("acme,a9", "lib 20"),
        ];
        assert_eq!(texts(&files), expected);
        assert_eq!(problems, []);
    }

    #[test]
    fn masks_hide_the_lower_directories() {
        let tree = Tree::new();
        for key in ["empty", "null", "far"] {
            tree.file(&format!("usr/lib/protheap/policies/{key}.toml"), "lib");
        }
        tree.file("usr/lib/protheap/policies/null.toml.d/a.toml", "a");
        tree.file("usr/lib/protheap/policies/null.toml.d/b.toml", "b");
        tree.file("etc/protheap/policies/empty.toml", "");
        tree.link("/dev/null", "etc/protheap/policies/null.toml");
        tree.link("/dev/null", "run/protheap/policies/null.toml.d/a.toml");
        let mut problems = Vec::new();
        let files = read(&tree.root(), &keys(&["empty", "null", "far"]), true, &mut problems);
        assert_eq!(texts(&files), [("null", "b"), ("far", "lib")]);
        assert_eq!(problems, []);
    }

    #[test]
    fn a_hostile_file_is_told_and_never_waited_for() {
        let tree = Tree::new();
        let at = |name: &str| format!("etc/protheap/policies/{name}.toml");
        tree.fifo(&at("fifo"));
        tree.directory(&at("directory"));
        tree.link("loop.toml", &at("loop"));
        tree.link("/nowhere", &at("dangling"));
        tree.link("/dev/zero", "etc/protheap/policies/zero.toml");
        tree.file(&at("latin"), b"a = 1\nb = \"\xe9\"\n");
        tree.file(&at("good"), "fine");
        let big = File::create(tree.path(&at("big"))).unwrap();
        big.set_len(100 << 20).unwrap();
        tree.directory("etc/protheap/policies/good.toml.d/x.toml");
        tree.file("usr/lib/protheap/policies/big.toml", "must not take its place");
        let names = ["fifo", "directory", "loop", "dangling", "zero", "latin", "big", "good"];
        let mut problems = Vec::new();
        let files = read(&tree.root(), &keys(&names), true, &mut problems);
        assert_eq!(texts(&files), [("good", "fine")]);
        let told: Vec<_> = problems.iter().map(|p| p.message.as_str()).collect();
        assert_eq!(told.len(), 8, "{told:?}");
        assert_eq!(told[0], "is not a file");
        assert_eq!(told[3], "is a link to \"/nowhere\", which does not exist");
        assert_eq!(told[5], "is not UTF-8: see line 2");
        assert_eq!(told[6], "is longer than 65536 bytes");
    }

    #[test]
    fn the_image_speaks_for_itself() {
        let tree = Tree::new();
        assert_eq!(image(&tree.root()), Ok(None));
        tree.file(IMAGE, "local-policy = \"never\"\n");
        assert_eq!(image(&tree.root()).unwrap().unwrap().1, "local-policy = \"never\"\n");
        std::fs::remove_file(tree.path(IMAGE)).unwrap();
        tree.fifo(IMAGE);
        assert!(image(&tree.root()).is_err());
    }
}
