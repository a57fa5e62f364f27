// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reads the sizes of protected sections from the GPU firmware images of a root.

#[cfg(feature = "xz")]
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
#[cfg(feature = "zstd")]
use std::io::BufReader;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
#[cfg(feature = "xz")]
use std::rc::Rc;

use protheap_core::facts::{Firmware, LARGEST_FIRMWARE_BYTES};
use protheap_csf::{Image, table_bytes};
use protheap_policy::name::Key;
use rustix::fs::{OFlags, fstat};
use rustix::io::Errno;

use crate::Problem;
#[cfg(any(feature = "xz", feature = "zstd"))]
use crate::root::Timed;
use crate::root::{Failed, Root, bounded, open_file, regular};

/// Maximum size of an image in bytes, compressed or not; known images have 300 KiB.
const LARGEST: usize = 8 << 20;
/// Number of bytes that are read first; tables of known images have less than 1 KiB.
const HEAD: usize = 4 << 10;
/// Attribute with the kernel's custom firmware directory.
const CUSTOM: &str = "sys/module/firmware_class/parameters/path";

/// The beginning of an image and the length of the whole.
type Contents = (Vec<u8>, usize);
type Unpack = fn(File) -> Result<Contents, Failed>;

/// The file formats that the kernel loads, in its order.
const FORMS: [(&str, Unpack); 3] = [("", plain), (".zst", zstd), (".xz", xz)];

/// Reads the image that GPU drivers load from `arm/mali/<wanted>`. Reads all images if there is
/// none of that name.
///
/// Searches the directories of the kernel `release` in the kernel's order, and uses the first image
/// of each name.
pub fn read(
    root: &Root,
    release: &str,
    wanted: Option<&str>,
    problems: &mut Vec<Problem>,
) -> Vec<Firmware> {
    let directories = directories(root, release, problems);
    if let Some(wanted) = wanted {
        // The name becomes part of paths.
        if Key::new(wanted).is_err() {
            let message = "is not a valid firmware name, examining all images";
            problems.push(Problem::new(wanted.escape_debug().to_string(), message));
        } else if let Some(image) = image(root, &directories, wanted, problems) {
            return vec![image];
        }
    }
    let mut names = Vec::new();
    for directory in &directories {
        names.extend(root.list(directory, problems));
    }
    names.sort_unstable();
    names.dedup();
    names.iter().filter_map(|name| image(root, &directories, name, problems)).collect()
}

/// Returns the directories that the kernel `release` searches for images, in its order.
fn directories(root: &Root, release: &str, problems: &mut Vec<Problem>) -> Vec<String> {
    let mut directories = Vec::new();
    if let Some(custom) = root.text(CUSTOM, problems) {
        directories.extend(Some(custom.trim_matches('/').to_owned()).filter(|c| !c.is_empty()));
    }
    let plain_release = !release.is_empty() && !release.contains('/');
    for updates in ["/updates", ""] {
        if plain_release {
            directories.push(format!("lib/firmware{updates}/{release}"));
        }
        directories.push(format!("lib/firmware{updates}"));
    }
    // A tree may lack the link from /lib.
    directories.push("usr/lib/firmware".to_owned());
    for directory in &mut directories {
        directory.push_str("/arm/mali");
    }
    directories
}

/// Version and build of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Directory from which the GPU driver loads the image, such as `arch10.8`.
    pub name: String,
    /// Version of the file format.
    pub version: String,
    /// Git commit of the build, if the image contains one: printable ASCII.
    pub git_sha: Option<String>,
    /// Total size of its protected sections, in bytes.
    pub protected_bytes: u64,
}

/// Reads the image called `name`, as a [`Firmware`] has it, as a whole.
pub fn identify(
    root: &Root,
    release: &str,
    name: &str,
    problems: &mut Vec<Problem>,
) -> Option<Identity> {
    let directories = directories(root, release, problems);
    // The name becomes part of paths.
    Key::new(name).ok()?;
    let Found { path, file, .. } = find(root, &directories, name)?;
    let bytes = file.and_then(|file| unpacked(file, &path));
    let bytes = root.note(&path, bytes, problems)?;
    let parsed = Image::parse(&bytes);
    let note = |error: &_| problems.push(Problem::new(root.shown(&path), format!("{error}")));
    let image = parsed.inspect_err(note).ok()?;
    let (major, minor) = image.version();
    Some(Identity {
        name: name.to_owned(),
        version: format!("{major}.{minor}"),
        git_sha: image.git_sha().map(str::to_owned),
        protected_bytes: image.protected_bytes(),
    })
}

/// Returns the names of the images that exist for the kernel `release`, each with its path and
/// without regard to its contents. The name is that of the directory, such as `arch10.8`.
pub fn present(
    root: &Root,
    release: &str,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, String> {
    let directories = directories(root, release, problems);
    let names: BTreeSet<_> =
        directories.iter().flat_map(|directory| root.list(directory, problems)).collect();
    let path = |name: &String| find(root, &directories, name).map(|found| found.path);
    names.into_iter().filter_map(|name| path(&name).map(|path| (name, path))).collect()
}

/// The file that the kernel loads for an image.
struct Found {
    path: String,
    /// The open file, or the reason why it could not be opened.
    file: Result<OwnedFd, Failed>,
    unpack: Unpack,
}

/// Finds the first file of the image called `name`, in the kernel's order.
fn find(root: &Root, directories: &[String], name: &str) -> Option<Found> {
    let paths = FORMS.iter().flat_map(|(suffix, unpack)| {
        let path = move |directory| format!("{directory}/{name}/mali_csffw.bin{suffix}");
        directories.iter().map(move |directory| (path(directory), *unpack))
    });
    let mut opened = paths.map(|(path, unpack)| {
        let file = root.open_at(&path, OFlags::RDONLY).map_err(Failed::from);
        Found { path, file, unpack }
    });
    opened.find(|found| !matches!(found.file, Err(Failed::Errno(Errno::NOENT | Errno::NOTDIR))))
}

/// Returns the image called `name` that the kernel would load: the first one found.
fn image(
    root: &Root,
    directories: &[String],
    name: &str,
    problems: &mut Vec<Problem>,
) -> Option<Firmware> {
    let Found { path, file, unpack } = find(root, directories, name)?;
    let contents = file.and_then(|file| contents(file.into(), unpack));
    let (bytes, length) = root.note(&path, contents, problems)?;
    let message = match Image::parse_table(&bytes, length) {
        Ok(image) if image.protected_bytes() <= LARGEST_FIRMWARE_BYTES => {
            let protected_bytes = image.protected_bytes();
            return Some(Firmware { name: name.to_owned(), protected_bytes });
        }
        Ok(image) => format!(
            "requires {} bytes of protected memory, which is not plausible, skipping it",
            image.protected_bytes()
        ),
        Err(error) => error.to_string(),
    };
    problems.push(Problem::new(root.shown(&path), message));
    None
}

/// Reads the whole image at `path`, relative to no root. A name that ends in `.zst` or `.xz` means,
/// as for the kernel, that the file is compressed.
///
/// # Errors
///
/// Returns an error if the file cannot be opened, read or decompressed, is not a regular file, or
/// has more than 8 MiB.
pub fn read_file(path: &Path) -> Result<Vec<u8>, Problem> {
    let opened = open_file(path).map_err(Failed::from);
    let shown = path.to_string_lossy();
    opened.and_then(|file| unpacked(file, &shown)).map_err(|e| Problem::new(&*shown, e.to_string()))
}

/// Returns the whole contents of a file, decompressed according to the suffix of `name`.
pub(crate) fn unpacked(file: OwnedFd, name: &str) -> Result<Vec<u8>, Failed> {
    let unpack: Unpack = match name.rsplit('.').next() {
        Some("zst") => zstd,
        Some("xz") => xz,
        _ => |mut file| whole(&mut file),
    };
    contents(file.into(), unpack).map(|(bytes, _)| bytes)
}

fn contents(file: File, unpack: Unpack) -> Result<Contents, Failed> {
    let stat = regular(&file)?;
    if stat.st_size > LARGEST as i64 {
        return Err(Failed::TooLong(LARGEST));
    }
    unpack(file)
}

fn plain(mut file: File) -> Result<Contents, Failed> {
    let length = usize::try_from(fstat(&file)?.st_size).unwrap_or(LARGEST);
    let mut head = bounded(&mut (&file).take(HEAD as u64), HEAD as i64, HEAD)?;
    if table_bytes(&head).is_some_and(|table| table > head.len()) {
        head.extend(bounded(&mut file, 0, LARGEST)?);
    }
    Ok((head, length))
}

/// Reads an image as a whole.
fn whole(reader: &mut dyn Read) -> Result<Contents, Failed> {
    let bytes = bounded(reader, 0, LARGEST)?;
    let length = bytes.len();
    Ok((bytes, length))
}

/// A compressed file whose consumption is limited to its decompressed size plus [`OVERHEAD`]: empty
/// blocks cost time and produce no output.
#[cfg(feature = "xz")]
struct Packed {
    file: Timed<File>,
    consumed: u64,
    produced: Rc<Cell<u64>>,
}

/// Number of bytes by which a compressed file may exceed its decompressed size.
#[cfg(feature = "xz")]
const OVERHEAD: u64 = 512 << 10;

#[cfg(feature = "xz")]
impl Packed {
    fn new(file: File) -> (Self, Rc<Cell<u64>>) {
        let produced = Rc::new(Cell::new(0));
        (Self { file: Timed::new(file), consumed: 0, produced: Rc::clone(&produced) }, produced)
    }
}

#[cfg(feature = "xz")]
impl Read for Packed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.consumed > self.produced.get() + OVERHEAD {
            return Err(io::Error::from_raw_os_error(Errno::FBIG.raw_os_error()));
        }
        let length = self.file.read(buffer)?;
        self.consumed += length as u64;
        Ok(length)
    }
}

/// The decompressed contents of a [`Packed`] file.
#[cfg(feature = "xz")]
struct Unpacked<R>(R, Rc<Cell<u64>>);

#[cfg(feature = "xz")]
impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.0.read(buffer)?;
        self.1.set(self.1.get() + length as u64);
        Ok(length)
    }
}

#[cfg(feature = "xz")]
fn xz(file: File) -> Result<Contents, Failed> {
    use std::num::NonZeroUsize;
    use xz4rust::{DICT_SIZE_MIN, XzDecoder, XzReader};

    /// Dictionary size of `xz -9`. Memory is used only as far as there is output.
    const DICTIONARY: usize = 64 << 20;
    let decoder = XzDecoder::in_heap_with_alloc_dict_size(DICT_SIZE_MIN, DICTIONARY);
    let buffer = NonZeroUsize::MIN.saturating_add(16 << 10);
    let (packed, produced) = Packed::new(file);
    let reader = XzReader::new_with_buffer_size_and_decoder(packed, buffer, decoder);
    whole(&mut Unpacked(reader, produced)).map_err(|error| match error {
        // Replace the crate's own error texts, which are not sentences.
        Failed::Io(e) if e.raw_os_error().is_none() => io::Error::other(
            "the xz stream is damaged, or was not created by `xz -C crc32`, which the kernel \
             requires",
        )
        .into(),
        other => other,
    })
}

#[cfg(feature = "zstd")]
fn zstd(file: File) -> Result<Contents, Failed> {
    use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

    /// Used instead of the crate's own reader, which adds 30 KiB of error texts.
    struct Frame<'a>(FrameDecoder, &'a mut dyn Read, u32);

    /// Maximum number of blocks in a frame, including empty ones; compressors create blocks of 128
    /// KiB.
    const MOST_BLOCKS: u32 = 1 << 14;

    impl Read for Frame<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Self(decoder, source, blocks) = self;
            while decoder.can_collect() == 0 && !decoder.is_finished() {
                *blocks += 1;
                if *blocks > MOST_BLOCKS {
                    return Err(broken());
                }
                let some = BlockDecodingStrategy::UptoBlocks(1);
                decoder.decode_blocks(&mut *source, some).map_err(|_| broken())?;
            }
            decoder.read(buffer)
        }
    }

    fn broken() -> io::Error {
        io::Error::other("the zstd frame is damaged")
    }

    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(LARGEST as u64);
    // Blocks begin with a read of three bytes, so buffer the file.
    let mut source = BufReader::with_capacity(16 << 10, Timed::new(file));
    decoder.init(&mut source).map_err(|_| broken())?;
    whole(&mut Frame(decoder, &mut source, 0))
}

#[cfg(not(feature = "xz"))]
use not_built_in as xz;
#[cfg(not(feature = "zstd"))]
use not_built_in as zstd;
#[cfg(not(all(feature = "xz", feature = "zstd")))]
fn not_built_in(_: File) -> Result<Contents, Failed> {
    Err(io::Error::other("this program was built without support for this compression").into())
}

#[cfg(all(test, feature = "xz", feature = "zstd"))]
mod tests;
