// SPDX-License-Identifier: MIT OR Apache-2.0

//! The root of all paths that are read: `/`, or the top of another machine's file tree.

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

/// Maximum size of a kernel attribute in bytes: one page.
const ATTRIBUTE: usize = 4096;
/// Maximum time for reading one file. The files that are read at boot take milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Maximum number of directory entries that are read.
const MOST_ENTRIES: usize = 100_000;

/// Mode bit of a directory in which only an entry's owner can remove or replace the entry.
const STICKY: u32 = 0o1000;

/// A handle to the directory that stands for `/`.
///
/// The methods take paths relative to it, without a leading `/`. In a tree other than `/`, links
/// are resolved inside the tree: an absolute link starts at the top of the tree.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    /// Prefix of paths in messages; empty for `/`.
    prefix: String,
    /// User and group of the files that are trusted in addition to root's: for another machine's
    /// tree, the owner of its top directory.
    owner: (u32, u32),
}

impl Root {
    /// Opens `path` as the root; `/` is the running machine.
    ///
    /// # Errors
    ///
    /// Returns an error if `path` does not exist or is not a directory.
    pub fn open(path: &Path) -> Result<Self, Problem> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let shown = path.to_string_lossy();
        let failed = |e| Problem::new(&*shown, format!("failed to open as a root directory: {e}"));
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

    /// Returns why a file or directory is not trusted: a user other than root could have written
    /// it.
    pub(crate) fn distrust(&self, stat: &Stat) -> Option<String> {
        if !self.is_believed(stat.st_uid) {
            return Some(format!(
                "is owned by user {}, not by root; change the owner with chown",
                stat.st_uid
            ));
        }
        let mode = stat.st_mode & 0o7777;
        (mode & self.others(stat) != 0).then(|| {
            format!("is writable by users other than root (mode {mode:04o}); run chmod go-w")
        })
    }

    /// Returns why `entry` of `directory` is not trusted: a user other than root could have created
    /// or replaced it.
    ///
    /// In a sticky directory that others can write to, such as `/nix/store`, they can create
    /// entries but cannot replace root's entries.
    pub(crate) fn distrust_entry(&self, directory: &Stat, entry: &Stat) -> Option<String> {
        let why = self.distrust(directory)?;
        let is_sticky = directory.st_mode & STICKY != 0 && self.is_believed(directory.st_uid);
        if !is_sticky {
            return Some(why);
        }
        // A link has no mode of its own: only its owner can replace it.
        let is_link = FileType::from_raw_mode(entry.st_mode) == FileType::Symlink;
        if self.is_believed(entry.st_uid) && (is_link || entry.st_mode & self.others(entry) == 0) {
            return None;
        }
        let mode = directory.st_mode & 0o7777;
        Some(format!(
            "has mode {mode:04o}, so that only entries that root alone can write are used"
        ))
    }

    fn is_believed(&self, user: u32) -> bool {
        user == 0 || user == self.owner.0
    }

    /// Returns the mode bits that let untrusted users write.
    fn others(&self, stat: &Stat) -> u32 {
        let (user, group) = self.owner;
        // A user who unpacks a tree often has a private group, which may write to it.
        if user != 0 && stat.st_gid == group { 0o002 } else { 0o022 }
    }

    /// Returns whether this is the running machine, so that the state that was read can be acted
    /// on.
    pub fn is_running(&self) -> bool {
        self.prefix.is_empty()
    }

    /// Returns `path` as it is shown in messages.
    pub fn shown(&self, path: &str) -> String {
        format!("{}/{path}", self.prefix)
    }

    /// Opens `path` without blocking, even if it is a FIFO.
    pub(crate) fn open_at(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut flags = flags | OFlags::CLOEXEC;
        if !flags.contains(OFlags::PATH) {
            flags |= OFlags::NONBLOCK | OFlags::NOCTTY;
        }
        if !self.is_running() {
            // EAGAIN: a path component was renamed concurrently.
            for _ in 0..16 {
                let resolve = ResolveFlags::IN_ROOT;
                match openat2(&self.directory, path, flags, Mode::empty(), resolve) {
                    Err(Errno::AGAIN) => {}
                    // Linux before 5.6, or openat2() is filtered. Links may then lead outside of
                    // the tree, which is acceptable for reading.
                    Err(Errno::NOSYS) => break,
                    done => return done,
                }
            }
        }
        openat(&self.directory, path, flags, Mode::empty())
    }

    /// Returns the status of `path` without following a link in its last component.
    pub(crate) fn link_stat(&self, path: &str) -> Result<Stat, Errno> {
        if self.is_running() {
            return statat(&self.directory, path, AtFlags::SYMLINK_NOFOLLOW);
        }
        self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW).and_then(fstat)
    }

    /// Returns whether `path` is a directory.
    pub fn is_directory(&self, path: &str) -> bool {
        self.open_at(path, OFlags::PATH | OFlags::DIRECTORY).is_ok()
    }

    /// Reads the file at `path`, at most `limit` bytes. Returns `None` if the file does not exist,
    /// or if reading it failed, which adds to `problems`.
    pub fn read(&self, path: &str, limit: usize, problems: &mut Vec<Problem>) -> Option<Vec<u8>> {
        self.note(path, self.try_read(path, limit), problems)
    }

    /// Reads the attribute at `path`, at most one page, as text without trailing newlines.
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

    /// Reads the kernel attribute at `path` into `buffer` with a single read.
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

    /// Reads the attribute `name` in `directory` as [`Self::text`] does. On the running machine,
    /// also returns `None` if `directory` is not on a file system with the magic number `magic`, or
    /// if something is mounted over the attribute.
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

    /// Returns the names in the directory at `path`, sorted. Returns none if it does not exist.
    pub fn list(&self, path: &str, problems: &mut Vec<Problem>) -> Vec<String> {
        let mut names = Vec::new();
        self.each(path, problems, &mut |name, _| names.push(name.to_owned()));
        names.sort_unstable();
        names
    }

    /// Calls `visit` with each name in the directory at `path`, in no particular order.
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
                let why = format!("has more than {MOST_ENTRIES} entries, skipping the rest");
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
                    problems.push(Problem::new(self.shown(path), format!("failed to list: {e}")));
                    return;
                }
            }
        }
    }

    /// Returns whether `path` is a directory and its last component is not a link.
    pub fn is_real_directory(&self, path: &str, problems: &mut Vec<Problem>) -> bool {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        match self.open_at(path, flags) {
            Err(Errno::LOOP) => false,
            opened => self.note(path, opened.map_err(Failed::from), problems).is_some(),
        }
    }

    /// Returns the last component of the target of the link at `path`. Returns `None` if `path`
    /// does not exist or is not a link, or if the target is not UTF-8.
    pub fn link(&self, path: &str) -> Option<String> {
        let target = self.target(path).ok()?;
        let last = target.rsplit('/').next()?;
        (!last.is_empty()).then(|| last.to_owned())
    }

    /// Returns the target of the link at `path`.
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

    /// Returns the value of `done`. An error other than a missing file is added to `problems`.
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

/// Reads a kernel attribute with a single read. Returns its length.
fn read_attribute(file: &OwnedFd, buffer: &mut [u8; ATTRIBUTE]) -> Result<usize, Failed> {
    // The kernel returns a whole attribute at once; a full buffer means that it was truncated.
    match rustix::io::read(file, buffer.as_mut_slice())? {
        ATTRIBUTE => Err(Failed::TooLong(ATTRIBUTE - 1)),
        length => Ok(length),
    }
}

/// Reads the regular file at `path`, at most `limit` bytes, without blocking even if it is a FIFO.
///
/// # Errors
///
/// Returns an error if the file cannot be read, is not a regular file, or is longer than `limit`.
pub fn read_file(path: &Path, limit: usize) -> Result<Vec<u8>, Problem> {
    let read = || -> Result<Vec<u8>, Failed> {
        let file = open_file(path)?;
        let stat = regular(&file)?;
        bounded(&mut std::fs::File::from(file), stat.st_size, limit)
    };
    read().map_err(|e| Problem::new(path.to_string_lossy(), e.to_string()))
}

/// Opens the file at `path`, relative to no root, without blocking even if it is a FIFO.
pub(crate) fn open_file(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Returns the ID of the mount that `file` was opened on. Returns `None` if the kernel does not
/// report it, as before Linux 5.8.
pub(crate) fn mount_of(file: impl AsFd) -> Option<u64> {
    let known = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    let says = known.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    says.then_some(known.stx_mnt_id)
}

/// Returns the magic number of the file system that `file` is on.
pub(crate) fn file_system(file: impl AsFd) -> Result<i64, Errno> {
    // The type differs between architectures.
    #[allow(clippy::unnecessary_cast)]
    fstatfs(file).map(|known| known.f_type as i64)
}

/// Returns the status of a regular file; fails for any other type of file.
pub(crate) fn regular(file: impl AsFd) -> Result<Stat, Failed> {
    let stat = fstat(file)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        Ok(stat)
    } else {
        Err(std::io::Error::other("not a regular file").into())
    }
}

/// Reasons why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error("failed to read: {0}")]
    Errno(#[from] Errno),
    #[error("failed to read: {0}")]
    Io(#[from] std::io::Error),
    #[error("is longer than {0} bytes")]
    TooLong(usize),
}

/// A reader that fails with `TimedOut` after [`PATIENCE`].
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
            let text = format!("timed out after {} s", PATIENCE.as_secs());
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text));
        }
        self.source.read(buffer)
    }
}

/// Reads `source` to its end, at most `limit` bytes and for at most [`PATIENCE`]. `expected` is the
/// likely size.
pub(crate) fn bounded(
    source: &mut dyn Read,
    expected: i64,
    limit: usize,
) -> Result<Vec<u8>, Failed> {
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0).min(limit));
    // Read one byte more than the limit to detect a longer file.
    Timed::new(source).take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit { Err(Failed::TooLong(limit)) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;
    use std::fs;

    /// Returns the status of a file with this type, mode and owner.
    fn stat(kind: FileType, mode: u32, user: u32) -> Stat {
        let mut stat = fstat(fs::File::open("/").unwrap()).unwrap();
        stat.st_mode = kind.as_raw_mode() | mode;
        (stat.st_uid, stat.st_gid) = (user, 30_000);
        stat
    }

    #[test]
    fn only_root_entries_are_trusted_in_a_sticky_directory() {
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
            // The owner of the directory can replace any entry.
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
    fn unreadable_files_are_reported_and_missing_files_are_not() {
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
    fn list_sorts_names_and_reports_names_that_are_not_utf8() {
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
