// SPDX-License-Identifier: MIT OR Apache-2.0

//! First steps of a media player: find a heap that GPU and decoder can both use, allocate a buffer
//! from it, and verify that the CPU cannot read the buffer.
//!
//! `cargo run -p protheap-client --example player -- [RENDER_NODE [VIDEO_NODE]]`
//!
//! Exit status: 0 on success, 1 if a step failed, 2 on wrong usage.

use std::env;
use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use protheap_client::{FindHeapOptions, HeapProxy, ManagerProxy, device_of};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::ioctl::{Updater, ioctl, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use zbus::Connection;

/// Purpose of the memory.
const USAGE: &str = "secure-video";
/// Small enough for test boards with little protected memory; an NV12 frame takes width * height *
/// 3 / 2.
const BYTES: usize = 64 * 1024;

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let render = args.next().unwrap_or_else(|| "/dev/dri/renderD128".to_owned());
    let video = args.next().unwrap_or_else(|| "/dev/video0".to_owned());
    if args.next().is_some() || render.starts_with('-') {
        eprintln!("usage: player [RENDER_NODE [VIDEO_NODE]]");
        return ExitCode::from(2);
    }
    match zbus::block_on(play(&render, &video)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("player: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn play(render: &str, video: &str) -> Result<()> {
    let devices = [number(render)?, number(video)?];
    let connection = Connection::system().await.context("failed to connect to the system bus")?;
    let manager = ManagerProxy::new(&connection).await?;
    let (path, name, details) = manager
        .find_heap(USAGE, &devices, FindHeapOptions::default())
        .await
        .with_context(|| format!("failed to find a common heap of {render} and {video}"))?;
    println!("heap        {name}");
    println!("protection  {}", or_unknown(&details.protection));
    println!("exporter    {}", or_unknown(&details.exporter));

    let heap = match open(&details.node) {
        Ok(heap) => heap,
        Err(error) => {
            println!("{}: {error}; requesting it from protheapd", details.node);
            let heap = HeapProxy::new(&connection, path).await?;
            heap.open()
                .await
                .with_context(|| format!("failed to open {name} through protheapd"))?
                .into()
        }
    };
    let buffer =
        allocate(&heap).with_context(|| format!("failed to allocate {BYTES} bytes from {name}"))?;
    println!("buffer      {BYTES} bytes");
    match map(&buffer) {
        Err(errno) => println!("mmap        refused: {errno}"),
        Ok(()) => bail!("the buffer is not protected, because it can be mapped; do not use {name}"),
    }
    println!(
        "next        give it to the decoder (V4L2_MEMORY_DMABUF) and to the GPU \
         (EGL_LINUX_DMA_BUF_EXT with EGL_PROTECTED_CONTENT_EXT)"
    );
    Ok(())
}

fn number(path: &str) -> Result<(u32, u32)> {
    open(path).and_then(device_of).with_context(|| format!("failed to open {path}"))
}

/// Opens a node for reading and writing.
fn open(path: &str) -> io::Result<OwnedFd> {
    Ok(File::options().read(true).write(true).open(path)?.into())
}

fn or_unknown(word: &str) -> &str {
    if word.is_empty() { "unknown: no buffer has been examined yet" } else { word }
}

/// `struct dma_heap_allocation_data` of linux/dma-heap.h.
#[repr(C)]
struct AllocationData {
    len: u64,
    fd: u32,
    fd_flags: u32,
    heap_flags: u64,
}

/// `DMA_HEAP_IOCTL_ALLOC`.
const ALLOC: rustix::ioctl::Opcode = opcode::read_write::<AllocationData>(b'H', 0);

/// Allocates a buffer. It is freed when its last descriptor is closed.
fn allocate(heap: &OwnedFd) -> Result<OwnedFd> {
    let fd_flags = (OFlags::RDWR | OFlags::CLOEXEC).bits();
    let mut data = AllocationData { len: BYTES as u64, fd: 0, fd_flags, heap_flags: 0 };
    // SAFETY: the opcode takes a `struct dma_heap_allocation_data`, which `data` is; the kernel
    // writes to it and keeps no pointer.
    unsafe { ioctl(heap, Updater::<ALLOC, _>::new(&mut data)) }?;
    let fd = RawFd::try_from(data.fd)?;
    // SAFETY: the ioctl succeeded, so `fd` is a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Tries to map a buffer, like a process that reads it.
fn map(buffer: &OwnedFd) -> Result<(), Errno> {
    // SAFETY: this creates a new mapping at an address chosen by the kernel, and nothing reads it.
    let address =
        unsafe { mmap(std::ptr::null_mut(), BYTES, ProtFlags::READ, MapFlags::SHARED, buffer, 0) }?;
    // SAFETY: the mapping was just made with this length, and nothing points into it.
    unsafe { munmap(address, BYTES) }
}
