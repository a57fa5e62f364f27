// SPDX-License-Identifier: MIT OR Apache-2.0

//! The policy files of one board: a handful of paths, however many policies are installed.

use std::collections::BTreeSet;
use std::fs::File;

use protheap_core::cascade::{Judged, PolicyFile, Standing};
use protheap_core::name::Key;
use rustix::fs::{FileType, OFlags, fstat, major, minor};
use rustix::io::Errno;

use crate::Problem;
use crate::root::{Failed, Root, bounded};

/// Where policies are looked for, the first wins by file name.
pub const DIRECTORIES: [&str; 3] =
    ["etc/protheap/policies", "run/protheap/policies", IMAGE_DIRECTORY];
/// The only one of them that is part of a signed image.
const IMAGE_DIRECTORY: &str = "usr/lib/protheap/policies";
const IMAGE_PARENT: &str = "usr/lib/protheap";
/// The one file that says whether the other directories count.
pub const IMAGE: &str = "usr/lib/protheap/image.toml";
/// What is said of a mask that counts.
pub const MASK: &str = "hides this name in the directories after it";
/// A link to this is a mask.
const NULL: &str = "/dev/null";
/// How many links a path may have.
const MOST_LINKS: usize = 16;
/// What is said of a policy that may not be read.
const DENIED: &str = "may not be read by this user: try it as root";
/// How much the policies of a board may say together, in bytes.
const MOST_BYTES: usize = 1 << 20;
/// The longest policy that is read, in bytes.
const LONGEST: usize = protheap_core::fragment::LARGEST;

/// The directories that policies are in, as far as they exist.
#[derive(Debug)]
pub struct Directories {
    layers: Vec<Layer>,
    /// What is there and cannot be looked at.
    problems: Vec<Problem>,
}

/// A directory, among others that can have files of the same names.
#[derive(Debug)]
struct Layer {
    path: String,
    /// Why its files do not count.
    untrusted: Option<String>,
}

impl Directories {
    /// Looks which there are.
    pub fn open(root: &Root) -> Self {
        let (mut layers, mut problems) = (Vec::new(), Vec::new());
        for directory in DIRECTORIES {
            let parent = directory.rsplit_once('/').map_or("", |(parent, _)| parent);
            let opened = match Layer::open(root, directory, &mut problems) {
                // Whoever can write to the one above it can put another in its place.
                Some(Layer { path, untrusted: None }) => Layer::open(root, parent, &mut problems)
                    .map(|Layer { untrusted, .. }| Layer { path, untrusted }),
                opened => opened,
            };
            layers.extend(opened);
        }
        Self { layers, problems }
    }

    /// There are some that are not part of the image.
    pub fn has_local(&self) -> bool {
        self.layers.iter().any(Layer::is_local)
    }

    /// Those that are not part of the image do not count.
    pub fn distrust_local(&mut self, why: &str) {
        for layer in self.layers.iter_mut().filter(|layer| layer.is_local()) {
            layer.untrusted = Some(why.to_owned());
        }
    }

    /// Reads the files of `keys`, which go from general to specific: for each key the file, then
    /// its drop-ins by name. That is the order in which they are merged.
    ///
    /// `all` also lists those that do not count because of another. Otherwise a directory that is
    /// not trusted is a problem, and its files are not looked at.
    pub fn read(
        mut self,
        root: &Root,
        keys: &[Key],
        all: bool,
        problems: &mut Vec<Problem>,
    ) -> Vec<PolicyFile> {
        problems.append(&mut self.problems);
        if !all {
            trusted(root, &mut self.layers, problems);
        }
        let mut files = Taken { files: Vec::new(), bytes: 0, all };
        for key in keys {
            files.take(root, key, &self.layers, &format!("{key}.toml"));
            let drop_ins = |layer: &Layer| layer.drop_ins(root, key, problems);
            let mut layers: Vec<_> = self.layers.iter().filter_map(drop_ins).collect();
            if !all {
                trusted(root, &mut layers, problems);
            }
            let mut names = BTreeSet::new();
            for layer in &layers {
                root.each(&layer.path, problems, &mut |name, _| {
                    if name.ends_with(".toml") && !name.starts_with('.') {
                        names.insert(name.to_owned());
                    }
                });
            }
            for name in &names {
                files.take(root, key, &layers, name);
            }
        }
        files.files
    }
}

impl Layer {
    /// `None`: there is no such directory.
    fn open(root: &Root, path: &str, problems: &mut Vec<Problem>) -> Option<Self> {
        let untrusted = match judge_directory(root, path) {
            Ok(untrusted) => untrusted.map(|why| format!("its directory {why}")),
            Err(Errno::NOENT | Errno::NOTDIR) => return None,
            Err(e) => {
                problems.push(Problem::new(root.shown(path), Failed::from(e).to_string()));
                return None;
            }
        };
        Some(Self { path: path.to_owned(), untrusted })
    }

    fn is_local(&self) -> bool {
        self.path != IMAGE_DIRECTORY
    }

    /// The drop-ins of `key` in this directory.
    fn drop_ins(&self, root: &Root, key: &Key, problems: &mut Vec<Problem>) -> Option<Self> {
        let layer = Self::open(root, &format!("{}/{key}.toml.d", self.path), problems)?;
        let untrusted = self.untrusted.clone().or(layer.untrusted);
        Some(Self { untrusted, ..layer })
    }
}

/// Why the directory at `path` is not believed.
fn judge_directory(root: &Root, path: &str) -> Result<Option<String>, Errno> {
    let mut stat = root.link_stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        match follow(root, path)? {
            Way::To(end) if end == NULL => return Err(Errno::NOTDIR),
            Way::To(end) => stat = root.link_stat(&end)?,
            Way::Untrusted(why) => return Ok(Some(why)),
        }
    }
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Errno::NOTDIR);
    }
    Ok(root.distrust(&stat))
}

/// Where a link leads.
enum Way {
    /// To this path, at which there is no further link.
    To(String),
    /// Others than root could lead it elsewhere: why.
    Untrusted(String),
}

/// Follows the links at `path`. Every directory on the way has to be root's, as the one has to be
/// that the first link is in: else others could decide what a policy is, or what hides one.
fn follow(root: &Root, path: &str) -> Result<Way, Errno> {
    let reversed = |path: &str| path.rsplit('/').map(str::to_owned).collect::<Vec<_>>();
    let mut ahead = reversed(path);
    let (mut end, mut links) = (String::new(), 0);
    while let Some(part) = ahead.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                end.truncate(end.rfind('/').unwrap_or(0));
                continue;
            }
            _ => {}
        }
        if !end.is_empty()
            && let Some(why) = root.distrust(&root.link_stat(&end)?)
        {
            return Ok(Way::Untrusted(format!("leads through {}, which {why}", root.shown(&end))));
        }
        let next = if end.is_empty() { part } else { format!("{end}/{part}") };
        if FileType::from_raw_mode(root.link_stat(&next)?.st_mode) != FileType::Symlink {
            end = next;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(Errno::LOOP);
        }
        let target = root.target(&next)?;
        // Another machine's tree has none.
        if target == NULL {
            return Ok(Way::To(NULL.to_owned()));
        }
        if target.starts_with('/') {
            end.clear();
        }
        ahead.extend(reversed(&target));
    }
    Ok(Way::To(end))
}

/// Keeps the layers that are trusted, and tells of the others.
fn trusted(root: &Root, layers: &mut Vec<Layer>, problems: &mut Vec<Problem>) {
    layers.retain(|layer| match &layer.untrusted {
        None => true,
        Some(why) => {
            problems.push(Problem::new(root.shown(&layer.path), format!("does not count: {why}")));
            false
        }
    });
}

/// Reads `image.toml`: path and text. `None`: there is none.
///
/// # Errors
///
/// It is there and cannot be used: what is wrong with it.
pub fn image(root: &Root) -> Result<Option<(String, String)>, Problem> {
    if let Ok(Some(why)) = judge_directory(root, IMAGE_PARENT) {
        return Err(Problem::new(root.shown(IMAGE), format!("its directory {why}")));
    }
    match text(root, IMAGE) {
        Found::Nothing | Found::Mask => Ok(None),
        Found::Text(text) => Ok(Some((root.shown(IMAGE), text))),
        Found::Untrusted(why) | Found::Refused(why) => Err(Problem::new(root.shown(IMAGE), why)),
    }
}

/// The files of a board.
struct Taken {
    files: Vec<PolicyFile>,
    /// How much the policies say together.
    bytes: usize,
    /// Those that do not count because of another are wanted too.
    all: bool,
}

impl Taken {
    /// Adds the files `name` of `layers`: those before the first that counts, that one, and if all
    /// are wanted, those that it hides.
    fn take(&mut self, root: &Root, key: &Key, layers: &[Layer], name: &str) {
        let mut hidden: Option<Standing> = None;
        for layer in layers {
            if hidden.is_some() && !self.all {
                return;
            }
            let path = format!("{}/{name}", layer.path);
            let found = text(root, &path);
            let path = root.shown(&path);
            let standing = match (found, &layer.untrusted, &hidden) {
                (Found::Nothing, ..) => continue,
                (_, Some(why), _) => Standing::Untrusted(why.clone()),
                (_, _, Some(standing)) => standing.clone(),
                (Found::Untrusted(why), ..) => Standing::Untrusted(why),
                (Found::Mask, ..) => {
                    hidden = Some(Standing::Masked(format!("by {path}")));
                    Standing::Masked(MASK.to_owned())
                }
                (Found::Text(text), ..) if self.bytes + text.len() <= MOST_BYTES => {
                    hidden = Some(Standing::Shadowed(format!("by {path}")));
                    self.bytes += text.len();
                    Standing::Text(text)
                }
                (found, ..) => {
                    hidden = Some(Standing::Shadowed(format!("by {path}, though that is refused")));
                    Standing::Refused(match found {
                        Found::Refused(why) => why,
                        _ => format!("the policies of a board have at most {MOST_BYTES} bytes"),
                    })
                }
            };
            self.files.push(PolicyFile { key: key.clone(), path, standing });
        }
    }
}

/// What is at a path.
#[derive(Debug)]
pub enum Found {
    /// No file.
    Nothing,
    /// An empty file, or a link to `/dev/null`.
    Mask,
    /// A file: what it says.
    Text(String),
    /// Others than root could have written it: why.
    Untrusted(String),
    /// It cannot be read: why.
    Refused(String),
}

/// The files and directories that somebody put beside the image's policies, none of which is of one
/// of `keys`: paths with the root.
pub fn strangers(root: &Root, keys: &[Key], problems: &mut Vec<Problem>) -> Vec<String> {
    let mut strangers = Vec::new();
    for directory in DIRECTORIES.iter().filter(|directory| **directory != IMAGE_DIRECTORY) {
        for name in root.list(directory, problems) {
            let stem = name.strip_suffix(".toml").or_else(|| name.strip_suffix(".toml.d"));
            if !stem.is_some_and(|stem| keys.iter().any(|key| key.as_str() == stem)) {
                strangers.push(root.shown(&format!("{directory}/{name}")));
            }
        }
    }
    strangers
}

/// Looks at the file at `path`, whoever could have written it.
pub fn look(root: &Root, path: &str) -> Found {
    found(root, path, true)
}

/// Why no file in the directory at `path` counts: others than root could have written it.
pub fn distrust(root: &Root, path: &str) -> Option<String> {
    judge_directory(root, path).ok().flatten()
}

/// A directory or file of policies that whoever asks may not read, so that nothing can be said.
pub fn denied(root: &Root, files: &[Judged]) -> Option<Problem> {
    let closed = |path: &&str| {
        let list = root.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY);
        let search = root.open_at(&format!("{path}/."), OFlags::PATH);
        [list, search].into_iter().any(|opened| matches!(opened, Err(Errno::ACCESS)))
    };
    let directory = DIRECTORIES.iter().copied().find(closed).map(|path| root.shown(path));
    let is_denied = |file: &&Judged| file.why == DENIED;
    let path = directory.or_else(|| files.iter().find(is_denied).map(|file| file.path.clone()))?;
    Some(Problem::new(path, DENIED))
}

fn text(root: &Root, path: &str) -> Found {
    found(root, path, false)
}

fn found(root: &Root, path: &str, anyone: bool) -> Found {
    match try_text(root, path, anyone) {
        Ok(found) => found,
        Err(Failed::Errno(Errno::NOENT)) => match root.target(path) {
            Ok(target) => Found::Refused(format!("is a link to {target:?}, which does not exist")),
            Err(_) => Found::Nothing,
        },
        Err(Failed::Errno(Errno::NOTDIR)) => Found::Nothing,
        Err(Failed::Errno(Errno::ACCESS)) => Found::Refused(DENIED.to_owned()),
        Err(e) => Found::Refused(e.to_string()),
    }
}

fn try_text(root: &Root, path: &str, anyone: bool) -> Result<Found, Failed> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
    let file = match root.open_at(path, flags) {
        Err(Errno::LOOP) if root.target(path).is_ok_and(|target| target == NULL) => {
            return Ok(Found::Mask);
        }
        Err(Errno::LOOP) if anyone => root.open_at(path, OFlags::RDONLY)?,
        Err(Errno::LOOP) => match follow(root, path)? {
            Way::To(end) if end == NULL => return Ok(Found::Mask),
            Way::To(end) => root.open_at(&end, flags)?,
            Way::Untrusted(why) => return Ok(Found::Untrusted(why)),
        },
        opened => opened?,
    };
    let stat = fstat(&file)?;
    let is_null = (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::CharacterDevice && is_null {
        // Everybody may write to it.
        return Ok(Found::Mask);
    }
    if !anyone && let Some(why) = root.distrust(&stat) {
        return Ok(Found::Untrusted(why));
    }
    if kind != FileType::RegularFile {
        return Ok(Found::Refused("is not a file".to_owned()));
    }
    if stat.st_size == 0 {
        return Ok(Found::Mask);
    }
    let bytes = bounded(&mut File::from(file), stat.st_size, LONGEST)?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) => Found::Text(text),
        Err(e) => {
            let valid = e.utf8_error().valid_up_to();
            let line = 1 + e.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count();
            Found::Refused(format!("is not UTF-8: see line {line}"))
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

    /// All files, each as its key, what became of it, and its text or the reason.
    fn all(tree: &Tree, asked: &[&str]) -> Vec<(String, &'static str, String)> {
        let root = tree.root();
        let mut problems = Vec::new();
        let files = Directories::open(&root).read(&root, &keys(asked), true, &mut problems);
        assert_eq!(problems, []);
        let shown = |file: PolicyFile| {
            let (word, text) = match file.standing {
                Standing::Text(text) => ("text", text),
                Standing::Masked(why) => ("masked", why),
                Standing::Shadowed(why) => ("shadowed", why),
                Standing::Untrusted(why) => ("untrusted", why),
                Standing::Refused(why) => ("refused", why),
            };
            (file.key.as_str().to_owned(), word, text.replace(tree.0.to_str().unwrap(), ""))
        };
        files.into_iter().map(shown).collect()
    }

    /// Those that count: key and text; and what was told.
    fn counting(
        tree: &Tree,
        asked: &[&str],
        local: bool,
    ) -> (Vec<(String, String)>, Vec<Problem>, Vec<PolicyFile>) {
        let root = tree.root();
        let mut problems = Vec::new();
        let mut directories = Directories::open(&root);
        if !local {
            directories.distrust_local("closed");
        }
        let files = directories.read(&root, &keys(asked), false, &mut problems);
        let text = |file: &PolicyFile| match &file.standing {
            Standing::Text(text) => Some((file.key.as_str().to_owned(), text.clone())),
            _ => None,
        };
        (files.iter().filter_map(text).collect(), problems, files)
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
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
        let asked = ["default", "acme,soc", "acme,a9"];
        let (files, problems, considered) = counting(&tree, &asked, true);
        let expected = [
            ("default", "lib default"),
            ("acme,a9", "run a9"),
            ("acme,a9", "lib 10"),
            ("acme,a9", "run 15"),
            ("acme,a9", "etc 20"),
        ];
        assert_eq!(files, pairs(&expected));
        assert_eq!(problems, []);
        assert!(considered[1].path.ends_with("/run/protheap/policies/acme,a9.toml"));
        let (files, problems, _) = counting(&tree, &asked, false);
        let expected = [
            ("default", "lib default"),
            ("acme,a9", "lib a9"),
            ("acme,a9", "lib 10"),
            ("acme,a9", "lib 20"),
        ];
        assert_eq!(files, pairs(&expected));
        let told: Vec<_> = problems.iter().map(|p| p.message.as_str()).collect();
        assert_eq!(told, ["does not count: closed"; 2]);
    }

    #[test]
    fn what_hides_another_is_named() {
        let tree = Tree::new();
        let at = |layer: &str| format!("{layer}/protheap/policies/a.toml");
        tree.file(&at("usr/lib"), "lib");
        tree.file(&at("run"), "run");
        assert_eq!(
            all(&tree, &["a"]),
            [
                ("a".into(), "text", "run".into()),
                ("a".into(), "shadowed", "by /run/protheap/policies/a.toml".into()),
            ]
        );
        tree.file(&at("etc"), "");
        let hidden = ("a".into(), "masked", "by /etc/protheap/policies/a.toml".into());
        let mask = "hides this name in the directories after it".into();
        let expected = [("a".into(), "masked", mask), hidden.clone(), hidden];
        assert_eq!(all(&tree, &["a"]), expected);
    }

    #[test]
    fn only_what_root_alone_can_write_counts() {
        use std::os::unix::fs::PermissionsExt as _;
        let tree = Tree::new();
        let at = |layer: &str, name: &str| format!("{layer}/protheap/policies/{name}");
        let mode = |path: &str, mode: u32| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(tree.path(path), permissions).unwrap();
        };
        for name in ["a.toml", "b.toml"] {
            tree.file(&at("usr/lib", name), "lib");
        }
        // A mask that anybody can write hides nothing.
        tree.file(&at("etc", "a.toml"), "");
        tree.file(&at("etc", "b.toml"), "etc");
        mode(&at("etc", "a.toml"), 0o666);
        mode(&at("etc", "b.toml"), 0o620);
        let (files, problems, considered) = counting(&tree, &["a", "b"], true);
        assert_eq!(files, pairs(&[("a", "lib"), ("b", "lib")]));
        assert_eq!(problems, []);
        assert!(
            matches!(&considered[0].standing, Standing::Untrusted(why) if why.contains("0666"))
        );

        // In a directory that anybody can write, every file is theirs.
        mode(&at("etc", "b.toml"), 0o644);
        assert_eq!(counting(&tree, &["b"], true).0, pairs(&[("b", "etc")]));
        mode(&at("etc", ""), 0o1777);
        let (files, problems, _) = counting(&tree, &["b"], true);
        assert_eq!(files, pairs(&[("b", "lib")]));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(all(&tree, &["b"])[0].1, "untrusted");
        mode(&at("etc", ""), 0o755);
        tree.file(&at("etc", "b.toml.d/x.toml"), "x");
        mode(&at("etc", "b.toml.d"), 0o777);
        let (files, problems, _) = counting(&tree, &["b"], true);
        assert_eq!(files, pairs(&[("b", "etc")]));
        assert_eq!(problems.len(), 1, "{problems:?}");
    }

    #[test]
    fn what_anybody_can_write_can_be_looked_at() {
        use std::os::unix::fs::PermissionsExt as _;
        let tree = Tree::new();
        tree.file("a.toml", "text");
        let permissions = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(tree.path("a.toml"), permissions).unwrap();
        let root = tree.root();
        assert!(matches!(look(&root, "a.toml"), Found::Text(text) if text == "text"));
        assert!(matches!(text(&root, "a.toml"), Found::Untrusted(why) if why.contains("0666")));
        assert!(matches!(look(&root, "b.toml"), Found::Nothing));
        tree.directory("open");
        let permissions = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(tree.0.join("open"), permissions).unwrap();
        assert!(distrust(&root, "open").unwrap().contains("0777"));
        assert_eq!(distrust(&root, "nothing"), None);
    }

    #[test]
    fn a_link_counts_only_if_root_alone_can_say_where_it_leads() {
        use std::os::unix::fs::PermissionsExt as _;
        let tree = Tree::new();
        let lib = "usr/lib/protheap/policies/a.toml";
        let link = "etc/protheap/policies/a.toml";
        tree.file(lib, "lib");
        tree.file("srv/a.toml", "linked");
        tree.link("../../../opt/a.toml", link);
        tree.link("/srv/a.toml", "opt/a.toml");
        assert_eq!(all(&tree, &["a"])[0], ("a".into(), "text", "linked".into()));
        let mode = |path: &str, mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(tree.0.join(path), mode).unwrap();
        };
        // Whoever can write to a directory on the way could mask, refuse or replace it.
        for (open, target) in [("opt", "/srv/a.toml"), ("srv", "/srv/a.toml"), ("opt", "/dev/null")]
        {
            std::fs::remove_file(tree.0.join("opt/a.toml")).unwrap();
            tree.link(target, "opt/a.toml");
            mode(open, 0o777);
            let found = all(&tree, &["a"]);
            assert_eq!((found[0].1, found[1].1), ("untrusted", "text"), "{found:?}");
            assert!(found[0].2.starts_with(&format!("leads through /{open}, which ")), "{found:?}");
            mode(open, 0o755);
        }
        assert_eq!(all(&tree, &["a"])[0].1, "masked");
        // The same of a directory.
        std::fs::remove_file(tree.0.join(link)).unwrap();
        tree.file("opt/drop-ins/x.toml", "x");
        tree.link("/opt/drop-ins", "etc/protheap/policies/a.toml.d");
        assert_eq!(all(&tree, &["a"])[1].2, "x");
        mode("opt", 0o777);
        assert_eq!(all(&tree, &["a"])[1].1, "untrusted");
    }

    #[test]
    fn all_policies_of_a_board_have_a_limit() {
        let tree = Tree::new();
        let text = format!("# {}\n", "x".repeat(60_000));
        for number in 10..40 {
            tree.file(&format!("usr/lib/protheap/policies/a.toml.d/{number}.toml"), &text);
        }
        let found = all(&tree, &["a"]);
        let refused: Vec<_> = found.iter().filter(|file| file.1 == "refused").collect();
        assert_eq!((found.len(), refused.len()), (30, 13));
        assert!(refused[0].2.contains("at most 1048576 bytes"), "{refused:?}");
    }

    #[test]
    fn what_is_for_no_string_of_the_board_is_a_stranger() {
        let tree = Tree::new();
        for name in ["a.toml", "b.toml", "a.toml.d/x.toml", "b.toml.d/x.toml", "a.toml.bak"] {
            tree.file(&format!("etc/protheap/policies/{name}"), "");
            tree.file(&format!("usr/lib/protheap/policies/{name}"), "");
        }
        let mut problems = Vec::new();
        let strangers = strangers(&tree.root(), &keys(&["default", "a"]), &mut problems);
        let names: Vec<_> = strangers.iter().map(|path| path.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, ["a.toml.bak", "b.toml", "b.toml.d"]);
        assert!(strangers[0].ends_with("/etc/protheap/policies/a.toml.bak"));
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
        let (files, problems, _) = counting(&tree, &["empty", "null", "far"], true);
        assert_eq!(files, pairs(&[("null", "b"), ("far", "lib")]));
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
        tree.file(&at("big"), "");
        let big = File::options().write(true).open(tree.path(&at("big"))).unwrap();
        big.set_len(100 << 20).unwrap();
        tree.directory("etc/protheap/policies/good.toml.d/x.toml");
        tree.file("usr/lib/protheap/policies/big.toml", "must not take its place");
        let names = ["fifo", "directory", "loop", "dangling", "zero", "latin", "big", "good"];
        let (files, problems, considered) = counting(&tree, &names, true);
        assert_eq!(files, pairs(&[("good", "fine")]));
        assert_eq!(problems, []);
        let refused = |file: &PolicyFile| match &file.standing {
            Standing::Refused(why) => Some(why.clone()),
            _ => None,
        };
        let told: Vec<_> = considered.iter().filter_map(refused).collect();
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
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(tree.0.join(IMAGE_PARENT), mode).unwrap();
        };
        mode(0o777);
        assert!(image(&tree.root()).is_err());
        mode(0o755);
        std::fs::remove_file(tree.path(IMAGE)).unwrap();
        assert_eq!(image(&tree.root()), Ok(None));
        tree.fifo(IMAGE);
        assert!(image(&tree.root()).is_err());
    }
}
