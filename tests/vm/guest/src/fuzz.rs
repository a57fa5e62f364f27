// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random and nearly valid input to every interface of the module, while the GPU driver is bound and unbound and
//! allocations fail.

use std::ffi::{OsStr, c_void};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::ptr;

use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::Outcome;
use crate::buffer::{self, HandOver, PROTHEAP_IOCTL_HAND_OVER};
use crate::faults;
use crate::worker::{CONFIG, HEAP, Random, Worker, bind, driver, run, store, write};

const PAGE: usize = 4096;
/// Least number of steps of each process.
const STEPS: u64 = 500;

/// Attributes of a binding, and a name that is none.
const ATTRIBUTES: [&str; 19] = [
    "heap",
    "source",
    "hold_ms",
    "hold_left_ms",
    "firmware_bytes_wanted",
    "suspend_bytes_wanted",
    "suspend_bytes",
    "suspend_count",
    "allow_unprotected",
    "origin",
    "commit",
    "state",
    "reason",
    "exporter",
    "firmware_bytes",
    "suspend_wanted",
    "suspend_free",
    "suspend_in_use",
    "nothing",
];

/// Values that are valid for an attribute, and similar ones. No size is large: a heap that is not protected would
/// allocate all memory.
const VALUES: [&str; 30] = [
    "",
    "\n",
    "0",
    "1",
    "2",
    "1\n",
    "1\n\n",
    "00",
    "+1",
    "-1",
    "0x10",
    "1e3",
    " 1",
    "1 ",
    "4096",
    "65536",
    "262144",
    "128",
    "129",
    "4294967296",
    "18446744073709551616",
    "bind",
    "none",
    "bind\0",
    "Bind",
    "handed",
    "kernel",
    HEAP,
    "system",
    "default_cma_region",
];

/// Open files and memory of a process.
struct Hands {
    protheap: File,
    buffers: Vec<OwnedFd>,
    /// Attributes that stay open, also when their directory has been removed.
    files: Vec<File>,
    memory: Memory,
}

/// One of the processes.
pub(crate) fn worker(words: &[&str]) -> Outcome {
    let mut hands = Hands {
        protheap: buffer::open()?,
        buffers: Vec::new(),
        files: Vec::new(),
        memory: Memory::new()?,
    };
    run(words, STEPS, |worker| {
        // One allocation or copy of the step fails.
        let fault = worker.random.one_in(3).then(|| 1 + worker.random.below(40));
        let fault = fault.and_then(|nth| faults::begin(nth).ok());
        step(worker, &mut hands);
        if fault.is_some() && faults::end() {
            worker.count("fault", Ok(()));
        }
    })
}

fn step(worker: &mut Worker, hands: &mut Hands) {
    let gpu = worker.gpu();
    match worker.random.below(100) {
        0..30 => send(worker, hands, &gpu),
        30..36 => {
            let name = directory(&mut worker.random, &gpu);
            let made = fs::create_dir(OsStr::from_bytes(&name));
            worker.count("mkdir", made);
        }
        36..39 => {
            let name = directory(&mut worker.random, &gpu);
            let removed = fs::remove_dir(OsStr::from_bytes(&name));
            worker.count("rmdir", removed);
        }
        39..59 => {
            let path = attribute(&mut worker.random, &gpu);
            let value = value(&mut worker.random);
            let stored = write(&path, &value);
            worker.count("store", stored);
        }
        59..67 => {
            let path = attribute(&mut worker.random, &gpu);
            let read = File::open(&path).and_then(|file| read(&mut worker.random, &file));
            worker.count("read", read);
        }
        67..75 => keep_open(worker, hands, &gpu),
        75..83 => {
            let source = *worker.random.pick(&["handed", "kernel"]);
            let bound = bind(&gpu, source, false, 65536);
            worker.count("bound", bound);
        }
        83..87 => {
            let what = *worker.random.pick(&["bind", "unbind", "bind"]);
            let done = driver(what, &gpu);
            worker.count(&format!("driver-{what}"), done);
        }
        87..94 => {
            let path = format!("/sys/kernel/debug/csfgpu/{gpu}/groups");
            let what =
                *worker.random.pick(&["create", "destroy", "keep", "", "creature of no use"]);
            let done = write(&path, what);
            worker.count("group", done);
        }
        94..96 => {
            let destroyed = write("/sys/kernel/debug/csfgpu/kept", "destroy");
            worker.count("kept-group-destroyed", destroyed);
        }
        96..98 => {
            let heap = *worker.random.pick(&[HEAP, HEAP, "system", "default_cma_region"]);
            let bytes = *worker.random.pick(&[1, 4096, 65536, 262_144]);
            if let Some(buffer) = worker.count("allocated", buffer::allocate(heap, bytes)) {
                put(&mut worker.random, &mut hands.buffers, buffer, 4);
            }
        }
        98 => {
            // This file supports only the ioctl.
            let mut bytes = [0; 16];
            let read = (&hands.protheap).read(&mut bytes);
            worker.count("device-read", read);
            let written = (&hands.protheap).write(&bytes);
            worker.count("device-write", written);
            let reopened = buffer::open();
            if let Some(file) = worker.count("device-open", reopened) {
                hands.protheap = file;
            }
        }
        _ => {
            let path = format!("/sys/kernel/debug/protheap/{gpu}");
            let read = File::open(&path).and_then(|file| read(&mut worker.random, &file));
            worker.count("debugfs-read", read);
            if worker.random.one_in(2) {
                // Makes the binding valid, whatever was stored before.
                for (attribute, value) in [
                    ("source", "handed"),
                    ("heap", HEAP),
                    ("suspend_bytes_wanted", "4096"),
                    ("suspend_count", "3"),
                ] {
                    let _ = store(&gpu, attribute, value);
                }
            }
        }
    }
}

/// Adds a value to the list, or replaces one if the list has `most` of them.
fn put<T>(random: &mut Random, list: &mut Vec<T>, value: T, most: usize) {
    if list.len() < most {
        list.push(value);
    } else {
        let place = random.below(list.len());
        list[place] = value;
    }
}

/// Returns the path of a directory in configfs, mostly that of a GPU.
fn directory(random: &mut Random, gpu: &str) -> Vec<u8> {
    let mut path = format!("{CONFIG}/").into_bytes();
    match random.below(12) {
        0..8 => path.extend(gpu.bytes()),
        8 => path.extend(
            random
                .pick(&["timer", "pmu", "firmware:optee", "..", " ", "%s%n", "nobody.gpu"])
                .bytes(),
        ),
        9 => {
            let count = random.below(300);
            path.extend(random.bytes(count).into_iter().map(|byte| byte.max(1)));
        }
        10 => path.extend(format!("{gpu}\n").bytes()),
        _ => path.extend(random.pick(&[&b"abi"[..], b"x/y", b"a\xff", b"."]).iter()),
    }
    path
}

fn attribute(random: &mut Random, gpu: &str) -> String {
    match random.below(20) {
        0 => format!("{CONFIG}/abi"),
        1 => format!("{CONFIG}/can_allocate"),
        _ => format!("{CONFIG}/{gpu}/{}", random.pick(&ATTRIBUTES)),
    }
}

fn value(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0 => {
            let count = *random.pick(&[1, 16, 254, 255, 256, 257, 4094, 4095, 4096, 9000]);
            random.bytes(count)
        }
        1 => {
            vec![*random.pick(b"0aA9\n\0\xff"); *random.pick(&[1, 20, 255, 256, 4094, 4095, 8192])]
        }
        2 => {
            // Flips one bit of a valid value.
            let mut value = random.pick(&VALUES).as_bytes().to_vec();
            if !value.is_empty() {
                let place = random.below(value.len());
                value[place] ^= 1 << random.below(8);
            }
            // Never a large size that the heap could allocate.
            if value.len() > 6 && value.iter().any(u8::is_ascii_digit) { Vec::new() } else { value }
        }
        _ => random.pick(&VALUES).as_bytes().to_vec(),
    }
}

/// Reads a random number of bytes at a random offset, which can be none, or behind the end.
fn read(random: &mut Random, file: &File) -> io::Result<usize> {
    let mut bytes = vec![0; *random.pick(&[0, 1, 2, 7, 4095, 4096, 4097, 9000])];
    let offset = *random.pick(&[
        0,
        0,
        0,
        1,
        3,
        4095,
        4096,
        u64::from(u32::MAX),
        i64::MAX.unsigned_abs() - 1,
    ]);
    file.read_at(&mut bytes, offset)
}

/// Opens an attribute and keeps it open, or uses an open one.
fn keep_open(worker: &mut Worker, hands: &mut Hands, gpu: &str) {
    if hands.files.is_empty() || worker.random.one_in(3) {
        let path = attribute(&mut worker.random, gpu);
        let (reads, writes) = *worker.random.pick(&[(true, true), (true, false), (false, true)]);
        let opened = OpenOptions::new().read(reads).write(writes).open(path);
        if let Some(file) = worker.count("open", opened) {
            put(&mut worker.random, &mut hands.files, file, 8);
        }
        return;
    }
    let file = worker.random.pick(&hands.files);
    if worker.random.one_in(2) {
        let value = value(&mut worker.random);
        let stored = file.write_at(&value, worker.random.next() & 7);
        worker.count("kept-store", stored);
    } else {
        let read = read(&mut worker.random, file);
        worker.count("kept-read", read);
    }
}

/// An ioctl of any number and argument.
struct Any {
    command: Opcode,
    argument: *mut c_void,
}

// SAFETY: the kernel writes through the pointer only to memory that nothing else uses.
unsafe impl Ioctl for Any {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.command
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.argument
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> Result<(), Errno> {
        Ok(())
    }
}

/// Sends an ioctl: half of them are valid except for the buffer, the others have at least one fault.
fn send(worker: &mut Worker, hands: &mut Hands, gpu: &str) {
    let random = &mut worker.random;
    let mut data = HandOver::new(gpu, *random.pick(&[0, 1, 1, 1]));
    let mut command = PROTHEAP_IOCTL_HAND_OVER;
    if !hands.buffers.is_empty() {
        data.fd = random.pick(&hands.buffers).as_raw_fd();
    }
    let argument = if random.one_in(2) {
        hands.memory.place(&data, 0)
    } else {
        spoil(random, hands, &mut data);
        command = match random.below(6) {
            // A fault in the number, the type, the size or the direction.
            0 => command ^ 1 << random.below(32),
            1 => command.wrapping_add(u32::try_from(random.below(5)).unwrap_or_default()),
            2 => Opcode::try_from(random.next() >> 32).unwrap_or_default(),
            _ => command,
        };
        if random.one_in(3) {
            hands.memory.bad_place(random)
        } else {
            hands.memory.place(&data, random.below(64))
        }
    };
    let name = if command == PROTHEAP_IOCTL_HAND_OVER { "ioctl" } else { "other-ioctl" };
    // SAFETY: no ioctl of this device writes to user space; the kernel refuses an invalid pointer.
    let sent = unsafe { ioctl(&hands.protheap, Any { command, argument }) };
    worker.count(name, sent.map_err(io::Error::from));
}

/// Makes the descriptor, another field, or both invalid.
fn spoil(random: &mut Random, hands: &Hands, data: &mut HandOver) {
    if random.one_in(8) {
        // Without a zero, so that a search for one would leave the structure.
        let x = u32::from_le_bytes([b'x'; 4]);
        *data = HandOver {
            device: [b'x'; 64],
            fd: x.cast_signed(),
            kind: x,
            flags: u64::from(x) << 32 | u64::from(x),
        };
        return;
    }
    match random.below(8) {
        0 => data.fd = -1,
        1 => data.fd = hands.protheap.as_raw_fd(),
        2 => data.fd = random.next().cast_signed() as i32,
        3 => data.fd = 0,
        4 => data.fd = hands.files.first().map_or(1, File::as_raw_fd),
        _ => (),
    }
    match random.below(8) {
        0 => data.kind = u32::try_from(random.next() >> 32).unwrap_or_default(),
        1 => data.flags = 1 << random.below(64),
        2 => data.device = [b'x'; 64],
        3 => data.device = [0; 64],
        4 => {
            let bytes = random.bytes(data.device.len());
            data.device.copy_from_slice(&bytes);
        }
        _ => (),
    }
}

/// A page of memory that is followed by an unmapped one.
struct Memory(*mut u8);

impl Memory {
    fn new() -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address.
        let at = unsafe { mmap_anonymous(ptr::null_mut(), 2 * PAGE, access, MapFlags::PRIVATE) }?;
        // SAFETY: this is the second page of the mapping from above, and no pointer into it exists.
        unsafe { munmap(at.cast::<u8>().add(PAGE).cast(), PAGE) }?;
        Ok(Self(at.cast()))
    }

    /// Writes `data` so that it ends `before` bytes before the end of the page, and returns its address.
    fn place(&self, data: &HandOver, before: usize) -> *mut c_void {
        let at = self.0.wrapping_add(PAGE - size_of::<HandOver>() - before);
        // SAFETY: the address is within the page, which nothing else uses, and need not be aligned.
        unsafe { ptr::write_unaligned(at.cast(), *data) };
        at.cast()
    }

    /// Returns an address that the kernel must not read.
    fn bad_place(&self, random: &mut Random) -> *mut c_void {
        let size = size_of::<HandOver>();
        match random.below(7) {
            0 => ptr::null_mut(),
            1 => ptr::without_provenance_mut(1),
            // In the memory of the kernel, and where no memory can be.
            2 => ptr::without_provenance_mut(0xffff_8000_8000_0000),
            3 => ptr::without_provenance_mut(usize::MAX - random.below(100)),
            4 => ptr::without_provenance_mut(0x00ff_0000_0000_0000),
            5 => ptr::without_provenance_mut(0x0000_ffff_ffff_ffff - random.below(100)),
            // The structure extends beyond the page.
            _ => self.0.wrapping_add(PAGE - size + 1 + random.below(size)).cast(),
        }
    }
}
