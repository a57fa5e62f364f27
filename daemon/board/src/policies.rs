// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reads the policy files of one board: a fixed set of paths, however many policies are installed.

mod mount;
mod trust;

use std::collections::BTreeSet;
use std::fs::File;

use protheap_policy::cascade::{Judged, PolicyFile, Standing};
use protheap_policy::name::Key;
use rustix::fs::{FileType, OFlags, fstat, major, minor};
use rustix::io::Errno;

use crate::Problem;
use crate::root::{Failed, Root, bounded, mount_of};
use mount::{FOREIGN, FOREIGN_COUNTS, ImageMount};
use trust::{NULL, Way, follow, judge_directory};

/// Policy directories. The first one that has a file of a given name takes precedence.
pub const DIRECTORIES: [&str; 3] =
    ["etc/protheap/policies", "run/protheap/policies", IMAGE_DIRECTORY];
/// The only policy directory that is part of a signed image.
const IMAGE_DIRECTORY: &str = "usr/lib/protheap/policies";
const IMAGE_PARENT: &str = "usr/lib/protheap";
/// The file that states whether the other directories are used.
pub const IMAGE: &str = "usr/lib/protheap/image.toml";
/// Reason shown for a mask that is in effect.
pub const MASK: &str = "masks files of this name in directories of lower precedence";
/// Reason shown for a policy that the user may not read.
pub const DENIED: &str = "is not readable by this user; run as root";
/// Maximum total size of a board's policies in bytes.
const MOST_BYTES: usize = 1 << 20;
/// Maximum number of drop-ins of one file.
const MOST_DROP_INS: usize = 256;
/// Placeholder for a mount whose ID the kernel does not report; no mount has this ID.
const UNKNOWN_MOUNT: u64 = u64::MAX;
/// Maximum size of one policy file in bytes.
const LONGEST: usize = protheap_policy::fragment::LARGEST;

/// The policy directories that exist.
#[derive(Debug)]
pub struct Directories {
    layers: Vec<Layer>,
    /// Directories that exist but cannot be examined.
    problems: Vec<Problem>,
    image: Image,
}

/// How far the image's own files are trusted.
#[derive(Debug, Clone, Copy)]
struct Image {
    mount: ImageMount,
    /// Only files that are part of the image are used.
    sealed: bool,
}

/// One of several directories that can have files of the same name.
#[derive(Debug)]
struct Layer {
    path: String,
    /// Why the files in this directory are ignored.
    untrusted: Option<String>,
}

impl Directories {
    /// Finds the directories that exist.
    pub fn open(root: &Root) -> Self {
        let (mut layers, mut problems) = (Vec::new(), Vec::new());
        for directory in DIRECTORIES {
            let parent = directory.rsplit_once('/').map_or("", |(parent, _)| parent);
            let opened = match Layer::open(root, directory, &mut problems) {
                // A user who can write to the parent directory can replace this one.
                Some(Layer { path, untrusted: None }) => Layer::open(root, parent, &mut problems)
                    .map(|Layer { untrusted, .. }| Layer { path, untrusted }),
                opened => opened,
            };
            layers.extend(opened);
        }
        let image = Image { mount: ImageMount::of(root), sealed: false };
        Self { layers, problems, image }
    }

    /// Returns whether there are directories outside of the image.
    pub fn has_local(&self) -> bool {
        self.layers.iter().any(Layer::is_local)
    }

    /// Ignores all policies outside of the image and reports `why`.
    pub fn distrust_local(&mut self, why: &str) {
        self.image.sealed = true;
        for layer in self.layers.iter_mut().filter(|layer| layer.is_local()) {
            layer.untrusted = Some(why.to_owned());
        }
    }

    /// Reads the files of `keys`, which are ordered from general to specific. Returns, for each
    /// key, the file and then its drop-ins sorted by name, which is the order in which they are
    /// merged.
    ///
    /// If `all` is set, overridden files are listed too. Otherwise an untrusted directory is
    /// reported as a problem and its files are not read.
    pub fn read(
        mut self,
        root: &Root,
        keys: &[Key],
        all: bool,
        problems: &mut Vec<Problem>,
    ) -> Vec<PolicyFile> {
        problems.append(&mut self.problems);
        let image = self.image;
        image.examine(root, &mut self.layers, all, problems);
        if !all {
            trusted(root, &mut self.layers, problems);
        }
        let mut files = Taken { files: Vec::new(), bytes: 0, all, image };
        for key in keys {
            files.take(root, key, &self.layers, &format!("{key}.toml"), problems);
            let drop_ins = |layer: &Layer| layer.drop_ins(root, key, problems);
            let mut layers: Vec<_> = self.layers.iter().filter_map(drop_ins).collect();
            image.examine(root, &mut layers, all, problems);
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
            if names.len() > MOST_DROP_INS
                && let Some(layer) = layers.first()
            {
                let why = format!(
                    "has more than {MOST_DROP_INS} drop-ins, using only the first ones by name"
                );
                problems.push(Problem::new(root.shown(&layer.path), why));
            }
            for name in names.iter().take(MOST_DROP_INS) {
                files.take(root, key, &layers, name, problems);
            }
        }
        files.files
    }
}

impl Image {
    /// Distrusts image directories that something is mounted over, or reports those that are used
    /// nevertheless.
    fn examine(self, root: &Root, layers: &mut [Layer], all: bool, problems: &mut Vec<Problem>) {
        for layer in layers.iter_mut().filter(|layer| !layer.is_local()) {
            // A directory distrusted because of its parent was reported with the parent.
            if layer.untrusted.is_some() || !self.mount.hides(root, &layer.path) {
                continue;
            }
            if self.sealed {
                layer.untrusted = Some(format!("its directory {FOREIGN}"));
            }
            // The files of an ignored directory are listed only if `all` is set.
            if all || !self.sealed {
                let why = if self.sealed { FOREIGN } else { FOREIGN_COUNTS };
                problems.push(Problem::new(root.shown(&layer.path), why));
            }
        }
    }
}

impl Layer {
    /// Returns `None` if the directory does not exist.
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
        !self.path.starts_with(IMAGE_DIRECTORY)
    }

    /// Returns the drop-in directory of `key` in this directory.
    fn drop_ins(&self, root: &Root, key: &Key, problems: &mut Vec<Problem>) -> Option<Self> {
        let layer = Self::open(root, &format!("{}/{key}.toml.d", self.path), problems)?;
        let untrusted = self.untrusted.clone().or(layer.untrusted);
        Some(Self { untrusted, ..layer })
    }
}

/// Keeps the trusted layers and reports the others.
fn trusted(root: &Root, layers: &mut Vec<Layer>, problems: &mut Vec<Problem>) {
    layers.retain(|layer| match &layer.untrusted {
        None => true,
        Some(why) => {
            problems.push(Problem::new(root.shown(&layer.path), format!("ignored: {why}")));
            false
        }
    });
}

/// Reads `image.toml`. Returns its path and text, or `None` if it does not exist.
///
/// # Errors
///
/// Returns an error if the file exists but cannot be used.
pub fn image(root: &Root) -> Result<Option<(String, String)>, Problem> {
    if let Ok(Some(why)) = judge_directory(root, IMAGE_PARENT) {
        return Err(Problem::new(root.shown(IMAGE), format!("its directory {why}")));
    }
    let mount = ImageMount::of(root);
    let (found, its) = examined(root, IMAGE, false);
    // If something is mounted over the directory, the image's own file is hidden and may say
    // otherwise, even if no file is visible.
    if mount.hides(root, IMAGE_PARENT) {
        return Err(Problem::new(root.shown(IMAGE_PARENT), FOREIGN));
    }
    if its.is_some() && mount.is_foreign(its) {
        return Err(Problem::new(root.shown(IMAGE), FOREIGN));
    }
    match found {
        Found::Nothing | Found::Mask => Ok(None),
        Found::Text(text) => Ok(Some((root.shown(IMAGE), text))),
        Found::Untrusted(why) | Found::Refused(why) => Err(Problem::new(root.shown(IMAGE), why)),
    }
}

/// The files of a board that were read so far.
struct Taken {
    files: Vec<PolicyFile>,
    /// Total size of the policies in bytes.
    bytes: usize,
    /// Overridden files are listed too.
    all: bool,
    image: Image,
}

impl Taken {
    /// Adds the files `name` of `layers`: those before the first valid one, that one, and if `all`
    /// is set, those that it overrides.
    fn take(
        &mut self,
        root: &Root,
        key: &Key,
        layers: &[Layer],
        name: &str,
        problems: &mut Vec<Problem>,
    ) {
        let mut hidden: Option<Standing> = None;
        for layer in layers {
            if hidden.is_some() && !self.all {
                return;
            }
            let path = format!("{}/{name}", layer.path);
            let (found, mount) = examined(root, &path, false);
            let path = root.shown(&path);
            let found = match mount {
                Some(_) if layer.is_local() || !self.image.mount.is_foreign(mount) => found,
                Some(_) if self.image.sealed => Found::Untrusted(FOREIGN.to_owned()),
                // If the whole directory is mounted over, that was reported already.
                Some(_) if !self.image.mount.hides(root, &layer.path) => {
                    problems.push(Problem::new(path.clone(), FOREIGN_COUNTS));
                    found
                }
                _ => found,
            };
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
                    hidden = Some(Standing::Shadowed(format!("by {path}, which is refused")));
                    Standing::Refused(match found {
                        Found::Refused(why) => why,
                        _ => format!(
                            "the policies of the board are longer than {MOST_BYTES} bytes in total"
                        ),
                    })
                }
            };
            self.files.push(PolicyFile { key: key.clone(), path, standing });
        }
    }
}

/// The result of looking for a policy file at a path.
#[derive(Debug)]
pub enum Found {
    /// There is no file.
    Nothing,
    /// An empty file or a link to `/dev/null`.
    Mask,
    /// The text of the file.
    Text(String),
    /// Why the file is not trusted: users other than root could have written it.
    Untrusted(String),
    /// Why the file cannot be read.
    Refused(String),
}

/// Returns the files and directories in the directories outside of the image that belong to none of
/// `keys`, as paths with the root.
pub fn elsewhere(root: &Root, keys: &[Key], problems: &mut Vec<Problem>) -> Vec<String> {
    let mut elsewhere = Vec::new();
    for directory in DIRECTORIES.iter().filter(|directory| **directory != IMAGE_DIRECTORY) {
        for name in root.list(directory, problems) {
            let stem = name.strip_suffix(".toml").or_else(|| name.strip_suffix(".toml.d"));
            if !stem.is_some_and(|stem| keys.iter().any(|key| key.as_str() == stem)) {
                elsewhere.push(root.shown(&format!("{directory}/{name}")));
            }
        }
    }
    elsewhere
}

/// Reads the file at `path`, regardless of who could have written it.
pub fn look(root: &Root, path: &str) -> Found {
    found(root, path, true)
}

/// Returns why all files in the directory at `path` are ignored: users other than root could have
/// written them.
pub fn distrust(root: &Root, path: &str) -> Option<String> {
    judge_directory(root, path).ok().flatten()
}

/// Returns a policy directory or file that the current user may not read, in which case no
/// statement about the policies is possible.
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

fn found(root: &Root, path: &str, anyone: bool) -> Found {
    examined(root, path, anyone).0
}

/// Reads `path`. Also returns the ID of its mount, if a file was opened.
fn examined(root: &Root, path: &str, anyone: bool) -> (Found, Option<u64>) {
    let mut mount = None;
    let found = match try_text(root, path, anyone, &mut mount) {
        Ok(found) => found,
        Err(Failed::Errno(Errno::NOENT)) => match root.target(path) {
            Ok(target) => Found::Refused(format!("is a link to {target:?}, which does not exist")),
            Err(_) => Found::Nothing,
        },
        Err(Failed::Errno(Errno::NOTDIR)) => Found::Nothing,
        Err(Failed::Errno(Errno::ACCESS)) => Found::Refused(DENIED.to_owned()),
        Err(e) => Found::Refused(e.to_string()),
    };
    (found, mount)
}

fn try_text(
    root: &Root,
    path: &str,
    anyone: bool,
    mount: &mut Option<u64>,
) -> Result<Found, Failed> {
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
    *mount = Some(mount_of(&file).unwrap_or(UNKNOWN_MOUNT));
    let stat = fstat(&file)?;
    let is_null = (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::CharacterDevice && is_null {
        // /dev/null is writable by everyone, so check for it before the mode.
        return Ok(Found::Mask);
    }
    if !anyone && let Some(why) = root.distrust(&stat) {
        return Ok(Found::Untrusted(why));
    }
    if kind != FileType::RegularFile {
        return Ok(Found::Refused("is not a regular file".to_owned()));
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
            Found::Refused(format!("is not UTF-8 in line {line}"))
        }
    })
}

#[cfg(test)]
mod tests;
