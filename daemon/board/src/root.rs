// SPDX-License-Identifier: MIT OR Apache-2.0

//! The tree that everything is read beneath: `/`, or another machine's.

use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat, StatxFlags, fstat, fstatfs,
    openat, openat2, readlinkat_raw, statat, statx,
};
use rustix::io::Errno;

use crate::Problem;

/// What one attribute of the kernel has at most, in bytes: a page.
const ATTRIBUTE: usize = 4096;
/// How long a file may take to be read: what is read at boot takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many entries of a directory are looked at.
const MOST_ENTRIES: usize = 100_000;

/// The bit of a directory in which only an entry's owner can remove or replace it.
const STICKY: u32 = 0o1000;

/// A handle on the directory that stands for `/`.
///
/// The paths that its methods take are relative to it, without a leading `/`. In a tree other than
/// `/` links stay inside: an absolute one starts at the tree's top.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    /// What stands before the paths in messages: empty for `/`.
    prefix: String,
    /// Whose files are believed, beside root's: of another machine's tree, who owns its top; and
    /// the group of that.
    owner: (u32, u32),
}

impl Root {
    /// Opens `path` as the root; `/` is the running machine.
    ///
    /// # Errors
    ///
    /// The directory is not there, or is none.
    pub fn open(path: &Path) -> Result<Self, Problem> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let shown = path.to_string_lossy();
        let failed = |e| Problem::new(&*shown, format!("cannot be opened as a root: {e}"));
        let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
        let prefix = shown.trim_end_matches('/').to_owned();
        let owner = if prefix.is_empty() {
            (0, 0)
        } else {
            let top = fstat(&directory).map_err(failed)?;
            (top.st_uid, top.st_gid)
        };
        Ok(Self { directory, prefix, owner })
    }

    /// Why a file or directory is not believed: somebody who is not root could have written it.
    pub(crate) fn distrust(&self, stat: &Stat) -> Option<String> {
        if !self.is_believed(stat.st_uid) {
            return Some(format!("belongs to user {}: only root's count; see chown", stat.st_uid));
        }
        let mode = stat.st_mode & 0o7777;
        (mode & self.others(stat) != 0).then(|| {
            format!("can be written by others than root (mode {mode:04o}): see chmod go-w")
        })
    }

    /// Why `entry` of `directory` is not believed to be there by root's will: somebody who is not
    /// root could have put it there, or another in its place.
    ///
    /// In a sticky directory that others can write to, such as `/nix/store`, they can add entries
    /// but not replace those of root.
    pub(crate) fn distrust_entry(&self, directory: &Stat, entry: &Stat) -> Option<String> {
        let why = self.distrust(directory)?;
        let is_sticky = directory.st_mode & STICKY != 0 && self.is_believed(directory.st_uid);
        if !is_sticky {
            return Some(why);
        }
        // A link has no mode: its owner alone can replace it.
        let is_link = FileType::from_raw_mode(entry.st_mode) == FileType::Symlink;
        if self.is_believed(entry.st_uid) && (is_link || entry.st_mode & self.others(entry) == 0) {
            return None;
        }
        let mode = directory.st_mode & 0o7777;
        Some(format!("has mode {mode:04o}, so that only what root alone can write counts in it"))
    }

    fn is_believed(&self, user: u32) -> bool {
        user == 0 || user == self.owner.0
    }

    /// The bits of a mode by which others than those that are believed can write.
    fn others(&self, stat: &Stat) -> u32 {
        let (user, group) = self.owner;
        // Who unpacks a tree as a user often has a group of his own, which may write to it.
        if user != 0 && stat.st_gid == group { 0o002 } else { 0o022 }
    }

    /// This is the running machine: what is read of it can also be acted on.
    pub fn is_running(&self) -> bool {
        self.prefix.is_empty()
    }

    /// `path` as messages show it.
    pub fn shown(&self, path: &str) -> String {
        format!("{}/{path}", self.prefix)
    }

    /// Opens `path`; never waits, as a FIFO would make it.
    pub(crate) fn open_at(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut flags = flags | OFlags::CLOEXEC;
        if !flags.contains(OFlags::PATH) {
            flags |= OFlags::NONBLOCK | OFlags::NOCTTY;
        }
        if !self.is_running() {
            // EAGAIN: something on the way was renamed meanwhile.
            for _ in 0..16 {
                let resolve = ResolveFlags::IN_ROOT;
                match openat2(&self.directory, path, flags, Mode::empty(), resolve) {
                    Err(Errno::AGAIN) => {}
                    // Before Linux 5.6, or filtered: links may lead outside, for reading only.
                    Err(Errno::NOSYS) => break,
                    done => return done,
                }
            }
        }
        openat(&self.directory, path, flags, Mode::empty())
    }

    /// What is at `path`, be it a link.
    pub(crate) fn link_stat(&self, path: &str) -> Result<Stat, Errno> {
        if self.is_running() {
            return statat(&self.directory, path, AtFlags::SYMLINK_NOFOLLOW);
        }
        self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW).and_then(fstat)
    }

    /// There is a directory at `path`.
    pub fn is_directory(&self, path: &str) -> bool {
        self.open_at(path, OFlags::PATH | OFlags::DIRECTORY).is_ok()
    }

    /// The bytes of the file at `path`, of which there may be `limit`. `None`: it is not there, or
    /// a problem was noted.
    pub fn read(&self, path: &str, limit: usize, problems: &mut Vec<Problem>) -> Option<Vec<u8>> {
        self.note(path, self.try_read(path, limit), problems)
    }

    /// The text of the attribute at `path`, at most a page, without the newline at its end.
    pub fn text(&self, path: &str, problems: &mut Vec<Problem>) -> Option<String> {
        let mut buffer = [0; ATTRIBUTE];
        let bytes = self.attribute(path, &mut buffer, problems)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Some(text.trim_end_matches('\n').to_owned()),
            Err(_) => {
                problems.push(Problem::new(self.shown(path), "is not UTF-8"));
                None
            }
        }
    }

    /// Reads the kernel's attribute at `path`, which fits `buffer`, by one read.
    pub(crate) fn attribute<'b>(
        &self,
        path: &str,
        buffer: &'b mut [u8; ATTRIBUTE],
        problems: &mut Vec<Problem>,
    ) -> Option<&'b [u8]> {
        let opened = self.open_at(path, OFlags::RDONLY).map_err(Failed::from);
        let read = opened.and_then(|file| read_attribute(&file, buffer));
        let length = self.note(path, read, problems)?;
        buffer.get(..length)
    }

    /// The text of the attribute `name` in `directory`, as [`Self::text`] reads it. On the running
    /// machine it is one of the kernel's: `None` as well if the directory is on a file system of
    /// another kind than that with the number `magic`, or something is mounted over the attribute.
    pub(crate) fn kernel_text(
        &self,
        directory: &str,
        name: &str,
        magic: i64,
        problems: &mut Vec<Problem>,
    ) -> Option<String> {
        let path = format!("{directory}/{name}");
        if !self.is_running() {
            return self.text(&path, problems);
        }
        let parent = self.open_at(directory, OFlags::PATH | OFlags::DIRECTORY).ok()?;
        let opened = self.open_at(&path, OFlags::RDONLY).map_err(Failed::from);
        let file = self.note(&path, opened, problems)?;
        if file_system(&file) != Ok(magic) || mount_of(&file) != mount_of(&parent) {
            return None;
        }
        let mut buffer = [0; ATTRIBUTE];
        let length = self.note(&path, read_attribute(&file, &mut buffer), problems)?;
        let text = String::from_utf8_lossy(buffer.get(..length)?);
        Some(text.trim_end_matches('\n').to_owned())
    }

    /// The names in the directory at `path`, sorted. Empty if there is none.
    pub fn list(&self, path: &str, problems: &mut Vec<Problem>) -> Vec<String> {
        let mut names = Vec::new();
        self.each(path, problems, &mut |name, _| names.push(name.to_owned()));
        names.sort_unstable();
        names
    }

    /// Calls `visit` with each name in the directory at `path`, in no order.
    pub fn each(
        &self,
        path: &str,
        problems: &mut Vec<Problem>,
        visit: &mut dyn FnMut(&str, &mut Vec<Problem>),
    ) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let opened = self.open_at(path, flags).map_err(Failed::from);
        let Some(directory) = self.note(path, opened, problems) else {
            return;
        };
        let mut buffer = [MaybeUninit::uninit(); ATTRIBUTE];
        let mut entries = RawDir::new(&directory, &mut buffer);
        let mut count = 0;
        while let Some(entry) = entries.next() {
            count += 1;
            if count > MOST_ENTRIES {
                let why = format!("has more than {MOST_ENTRIES} entries; the rest is skipped");
                problems.push(Problem::new(self.shown(path), why));
                return;
            }
            match entry {
                Ok(entry) => match entry.file_name().to_str() {
                    Ok("." | "..") => {}
                    Ok(name) => visit(name, problems),
                    Err(_) => {
                        let name = entry.file_name().to_string_lossy().into_owned();
                        let path = self.shown(&format!("{path}/{name}"));
                        problems.push(Problem::new(path, "has a name that is not UTF-8"));
                    }
                },
                Err(e) => {
                    problems.push(Problem::new(self.shown(path), format!("cannot be listed: {e}")));
                    return;
                }
            }
        }
    }

    /// Returns whether `path` is a directory and its last component no link.
    pub fn is_real_directory(&self, path: &str, problems: &mut Vec<Problem>) -> bool {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        match self.open_at(path, flags) {
            Err(Errno::LOOP) => false,
            opened => self.note(path, opened.map_err(Failed::from), problems).is_some(),
        }
    }

    /// The last component of what the link at `path` points to. `None`: it is not there, is no
    /// link, or what it says is not UTF-8.
    pub fn link(&self, path: &str) -> Option<String> {
        let target = self.target(path).ok()?;
        let last = target.rsplit('/').next()?;
        (!last.is_empty()).then(|| last.to_owned())
    }

    /// What the link at `path` says.
    pub(crate) fn target(&self, path: &str) -> Result<String, Errno> {
        let mut buffer = [0u8; ATTRIBUTE];
        let length = if self.is_running() {
            readlinkat_raw(&self.directory, path, buffer.as_mut_slice())?
        } else {
            let link = self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW)?;
            readlinkat_raw(&link, c"", buffer.as_mut_slice())?
        };
        let target = buffer.get(..length).ok_or(Errno::NAMETOOLONG)?;
        std::str::from_utf8(target).map(str::to_owned).map_err(|_| Errno::ILSEQ)
    }

    fn try_read(&self, path: &str, limit: usize) -> Result<Vec<u8>, Failed> {
        let file = self.open_at(path, OFlags::RDONLY)?;
        bounded(&mut std::fs::File::from(file), 0, limit)
    }

    /// Takes the value out of `done`; an error other than absence becomes a problem of `path`.
    pub(crate) fn note<T>(
        &self,
        path: &str,
        done: Result<T, Failed>,
        problems: &mut Vec<Problem>,
    ) -> Option<T> {
        match done {
            Ok(value) => Some(value),
            Err(Failed::Errno(Errno::NOENT | Errno::NOTDIR)) => None,
            Err(e) => {
                problems.push(Problem::new(self.shown(path), e.to_string()));
                None
            }
        }
    }
}

/// Reads an attribute of the kernel by one read; its length.
fn read_attribute(file: &OwnedFd, buffer: &mut [u8; ATTRIBUTE]) -> Result<usize, Failed> {
    // The kernel gives an attribute whole; a full buffer means that it was cut.
    match rustix::io::read(file, buffer.as_mut_slice())? {
        ATTRIBUTE => Err(Failed::TooLong(ATTRIBUTE - 1)),
        length => Ok(length),
    }
}

/// Reads the regular file at `path`, which has at most `limit` bytes; never waits, as a FIFO would
/// make it.
///
/// # Errors
///
/// It cannot be read, is no file, or is longer.
pub fn read_file(path: &Path, limit: usize) -> Result<Vec<u8>, Problem> {
    let read = || -> Result<Vec<u8>, Failed> {
        let file = open_file(path)?;
        let stat = regular(&file)?;
        bounded(&mut std::fs::File::from(file), stat.st_size, limit)
    };
    read().map_err(|e| Problem::new(path.to_string_lossy(), e.to_string()))
}

/// Opens the file at `path`, of any place; never waits, as a FIFO would make it.
pub(crate) fn open_file(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// The mount that `file` was opened on. `None`: the kernel does not say, as before Linux 5.8.
pub(crate) fn mount_of(file: impl AsFd) -> Option<u64> {
    let known = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    let says = known.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    says.then_some(known.stx_mnt_id)
}

/// The magic number of the file system that `file` is on.
pub(crate) fn file_system(file: impl AsFd) -> Result<i64, Errno> {
    // The type differs between architectures.
    #[allow(clippy::unnecessary_cast)]
    fstatfs(file).map(|known| known.f_type as i64)
}

/// What is known of a regular file; anything else is none.
pub(crate) fn regular(file: impl AsFd) -> Result<Stat, Failed> {
    let stat = fstat(file)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        Ok(stat)
    } else {
        Err(std::io::Error::other("it is not a file").into())
    }
}

/// Why something was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error("cannot be read: {0}")]
    Errno(#[from] Errno),
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("is longer than {0} bytes")]
    TooLong(usize),
}

/// Reads for as long as that may take.
#[derive(Debug)]
pub(crate) struct Timed<R> {
    source: R,
    until: Instant,
}

impl<R> Timed<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, until: Instant::now() + PATIENCE }
    }
}

impl<R: Read> Read for Timed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if Instant::now() > self.until {
            let text = format!("it took more than {} s", PATIENCE.as_secs());
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text));
        }
        self.source.read(buffer)
    }
}

/// All that `source` has, which may be `limit` bytes, and is likely to be `expected`. It may take
/// [`PATIENCE`].
pub(crate) fn bounded(
    source: &mut dyn Read,
    expected: i64,
    limit: usize,
) -> Result<Vec<u8>, Failed> {
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0).min(limit));
    // One byte more than may be: so that too much is seen, however much there is.
    Timed::new(source).take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit { Err(Failed::TooLong(limit)) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;
    use std::fs;

    /// The status of a file with this type, mode and owner.
    fn stat(kind: FileType, mode: u32, user: u32) -> Stat {
        let mut stat = fstat(fs::File::open("/").unwrap()).unwrap();
        stat.st_mode = kind.as_raw_mode() | mode;
        (stat.st_uid, stat.st_gid) = (user, 30_000);
        stat
    }

    #[test]
    fn in_a_sticky_directory_only_entries_of_root_count() {
        use FileType::{Directory, RegularFile, Symlink};
        let root = Root::open(Path::new("/")).unwrap();
        let trusted = |directory: (u32, u32), entry: Stat| {
            let directory = stat(Directory, directory.0, directory.1);
            root.distrust_entry(&directory, &entry).is_none()
        };
        for mode in [0o1775, 0o1777, 0o1757] {
            assert!(trusted((mode, 0), stat(Directory, 0o555, 0)), "{mode:o}");
            assert!(trusted((mode, 0), stat(RegularFile, 0o444, 0)), "{mode:o}");
            assert!(trusted((mode, 0), stat(Symlink, 0o777, 0)), "{mode:o}");
            assert!(!trusted((mode, 0), stat(Directory, 0o555, 1000)), "{mode:o}");
            assert!(!trusted((mode, 0), stat(Symlink, 0o777, 1000)), "{mode:o}");
            assert!(!trusted((mode, 0), stat(Directory, 0o575, 0)), "{mode:o}");
            assert!(!trusted((mode, 0), stat(RegularFile, 0o646, 0)), "{mode:o}");
            // Who owns the directory can replace any entry.
            assert!(!trusted((mode, 1000), stat(Directory, 0o555, 0)), "{mode:o}");
            assert!(!trusted((mode & 0o777, 0), stat(Directory, 0o555, 0)), "{mode:o}");
        }
        assert!(trusted((0o755, 0), stat(Directory, 0o777, 1000)), "that is looked at later");
    }

    #[test]
    fn absolute_links_stay_in_the_tree() {
        let tree = Tree::new();
        tree.file("sys/model", "ours\n");
        tree.link("/sys/model", "proc/model");
        tree.link("../../../../../../../../../../sys/model", "proc/climb");
        tree.link("/etc/hostname", "proc/outside");
        let mut problems = Vec::new();
        let root = tree.root();
        assert_eq!(root.text("proc/model", &mut problems).as_deref(), Some("ours"));
        assert_eq!(root.text("proc/climb", &mut problems).as_deref(), Some("ours"));
        assert_eq!(root.text("proc/outside", &mut problems), None);
        assert_eq!(root.link("proc/outside").as_deref(), Some("hostname"));
        assert_eq!(problems, []);
        assert!(!root.is_running());
    }

    #[test]
    fn what_cannot_be_read_is_told_and_what_is_absent_is_not() {
        let tree = Tree::new();
        tree.link("b", "a");
        tree.link("a", "b");
        tree.directory("d");
        tree.file("long", vec![b'x'; 5000]);
        tree.file("latin", b"caf\xe9");
        tree.fifo("fifo");
        let root = tree.root();
        let mut problems = Vec::new();
        for path in ["a", "d", "long", "latin", "nothing", "long/below"] {
            assert_eq!(root.text(path, &mut problems), None, "{path}");
        }
        assert_eq!(root.text("fifo", &mut problems).as_deref(), Some(""));
        assert_eq!(root.read("long", 4999, &mut problems), None);
        assert_eq!(root.read("long", 5000, &mut problems).map(|b| b.len()), Some(5000));
        let paths: Vec<_> = problems.iter().map(|p| p.path.rsplit('/').next().unwrap()).collect();
        assert_eq!(paths, ["a", "d", "long", "latin", "long"]);
    }

    #[test]
    fn lists_sorted_and_notes_names_that_are_no_text() {
        use std::os::unix::ffi::OsStrExt;
        let tree = Tree::new();
        tree.file("d/b", "");
        tree.file("d/a", "");
        fs::write(tree.0.join("d").join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
        let mut problems = Vec::new();
        assert_eq!(tree.root().list("d", &mut problems), ["a", "b"]);
        assert_eq!(problems.len(), 1);
        assert_eq!(tree.root().list("nothing", &mut problems), [""; 0]);
        assert_eq!(problems.len(), 1);
    }
}
