// SPDX-License-Identifier: MIT OR Apache-2.0

//! A udev monitor of the kernel's events.
//!
//! Receives events from the kernel instead of udevd: udevd may be busy loading the GPU's driver, and
//! some systems have no udevd.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use protheap_board::uevents::{Event, Received};
use protheap_runtime::executor::{Collected, DaemonExecutor};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use udev::{MonitorBuilder, MonitorSocket};

/// Subsystems of heaps, TEEs, GPUs, heap providers, heap modules, protheap.ko, and render nodes.
const SUBSYSTEMS: [&str; 7] = ["dma_heap", "tee", "misc", "platform", "arm_ffa", "module", "drm"];
/// Size of the receive buffer in bytes: room for a coldplug. It is kernel memory.
const QUEUE: usize = 4 << 20;

/// A monitor that receives events.
pub(crate) struct Monitor {
    socket: MonitorSocket,
}

/// An event of the monitor.
struct Udev(udev::Event);

impl Event for Udev {
    fn property(&self, name: &str) -> Option<&str> {
        self.0.property_value(name)?.to_str()
    }
}

impl Monitor {
    /// Starts to receive. Later events are queued: read facts after this.
    pub(crate) fn open() -> io::Result<Self> {
        let mut builder = MonitorBuilder::new_kernel()?;
        for subsystem in SUBSYSTEMS {
            builder = builder.match_subsystem(subsystem)?;
        }
        let socket = builder.listen()?;
        // Privileged callers may exceed net.core.rmem_max. Lost events are recovered from.
        if set_socket_recv_buffer_size_force(&socket, QUEUE).is_err() {
            set_socket_recv_buffer_size(&socket, QUEUE)?;
        }
        Ok(Self { socket })
    }

    /// Collects all queued events.
    pub(crate) fn receive(&self, executor: &DaemonExecutor) -> Collected {
        let mut collected = Collected::default();
        loop {
            // libudev returns the reason for no event in errno, which its Rust bindings ignore.
            match self.socket.iter().next() {
                Some(event) => executor.collect(Received::Event(Udev(event)), &mut collected),
                None if io::Error::last_os_error().raw_os_error()
                    == Some(Errno::NOBUFS.raw_os_error()) =>
                {
                    executor.collect(Received::<Udev>::Lost, &mut collected);
                }
                None => return collected,
            }
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
