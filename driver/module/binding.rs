// SPDX-License-Identifier: GPL-2.0

//! A binding of one GPU to one protected heap: what user space decided, and the buffers that came
//! of it.
//!
//! Nothing here locks, sleeps or knows a driver; [`crate::gpu`] does.

use crate::buffer::Buffer;
use kernel::{
    bindings,
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

extern "C" {
    fn protheap_glue_locked_down() -> bool;
}

/// Most suspend buffers that a binding may have: as many as a driver lets one process have groups.
pub(crate) const SUSPEND_COUNT_MAX: u32 = 128;

/// Who allocates the buffers.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Source {
    /// User space, which hands each one over.
    Handed,
}

impl Source {
    /// Every source of this kernel, with the name that user space knows it by.
    pub(crate) const ALL: &'static [(Source, &'static str)] = &[(Source::Handed, "handed")];

    /// The source of that name.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| known.as_bytes() == name)
            .map(|(source, _)| *source)
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Source::Handed => "handed",
        }
    }
}

/// What user space states before it commits.
pub(crate) struct Options {
    /// Name of the heap; for people, since a buffer does not tell where it came from.
    pub(crate) heap: KVec<u8>,
    /// Which policy decided; for people.
    pub(crate) origin: KVec<u8>,
    /// Who allocates.
    pub(crate) source: Source,
    /// Bytes that the firmware's buffer must have.
    pub(crate) firmware_bytes_wanted: usize,
    /// Bytes that each suspend buffer must have; 0 while nobody knows.
    pub(crate) suspend_bytes: usize,
    /// Most suspend buffers, free and in use.
    pub(crate) suspend_count: u32,
    /// Whether buffers that the CPU can map are taken.
    pub(crate) allow_unprotected: bool,
}

impl Options {
    const fn new() -> Self {
        Self {
            heap: KVec::new(),
            origin: KVec::new(),
            source: Source::Handed,
            firmware_bytes_wanted: 0,
            suspend_bytes: 0,
            suspend_count: 0,
            allow_unprotected: false,
        }
    }
}

/// What user space decided.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Decision {
    /// Bind the GPU to the heap of the buffers handed over.
    Bind,
    /// Leave the GPU without protected memory.
    None,
}

impl Decision {
    /// The decision of that name.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"bind" => Some(Decision::Bind),
            b"none" => Some(Decision::None),
            _ => None,
        }
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Decision::Bind => "bind",
            Decision::None => "none",
        }
    }
}

/// What a buffer is for.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// The firmware's protected section.
    Firmware,
    /// A suspended protected group.
    Suspend,
}

/// The state that user space sees.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum State {
    /// No binding.
    Absent,
    /// Nothing is decided, and the GPU is free to probe.
    Open,
    /// Nothing is decided, and the GPU waits.
    Held,
    /// Bound; the GPU's driver has taken nothing.
    Bound,
    /// Bound; the GPU's driver holds buffers.
    InUse,
    /// Decided against.
    None,
}

impl State {
    /// The stable word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Absent => "absent",
            State::Open => "open",
            State::Held => "held",
            State::Bound => "bound",
            State::InUse => "in-use",
            State::None => "none",
        }
    }
}

/// Why the binding is in its state, where that is not obvious.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Reason {
    /// Nothing to say.
    Empty,
    /// The GPU's driver had attached before anything was decided.
    AlreadyProbed,
    /// The GPU's driver does not attach.
    NoConsumer,
    /// The window ended before anything was decided.
    HeapLate,
}

impl Reason {
    /// The stable word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Reason::Empty => "",
            Reason::AlreadyProbed => "already-probed",
            Reason::NoConsumer => "no-consumer",
            Reason::HeapLate => "heap-late",
        }
    }
}

/// The GPU's driver, as a binding sees it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Driver {
    /// None is bound.
    Absent,
    /// One is bound that never attached.
    Stranger,
    /// One is attached.
    Attached,
}

/// How far the decision is.
enum Phase {
    /// Nothing is decided.
    Open,
    /// Nothing is decided, and the GPU waits until then.
    Held(Instant<Monotonic>),
    /// Decided, and why it came to that.
    Committed(Decision, Reason),
}

/// A suspend buffer.
struct Suspend {
    buffer: Buffer,
    in_use: bool,
}

/// A binding.
///
/// # Invariants
///
/// - Once bound, there is a firmware buffer for as long as the binding is not withdrawn.
/// - All buffers are distinct, and come from the same exporter.
pub(crate) struct Binding {
    /// What user space stated.
    pub(crate) options: Options,
    phase: Phase,
    heap_late: bool,
    withdrawn: bool,
    firmware: Option<Buffer>,
    firmware_in_use: bool,
    suspend: KVec<Suspend>,
    /// Whether the attached driver knows of this binding.
    pub(crate) told: bool,
}

impl Binding {
    /// A binding of which nothing is known yet.
    pub(crate) const fn new() -> Self {
        Self {
            options: Options::new(),
            phase: Phase::Open,
            heap_late: false,
            withdrawn: false,
            firmware: None,
            firmware_in_use: false,
            suspend: KVec::new(),
            told: false,
        }
    }

    /// Its state.
    pub(crate) fn state(&self) -> State {
        if self.withdrawn {
            return State::Absent;
        }
        match self.phase {
            Phase::Open => State::Open,
            Phase::Held(_) => State::Held,
            Phase::Committed(Decision::None, _) => State::None,
            Phase::Committed(Decision::Bind, _)
                if self.firmware_in_use || self.suspend_in_use() > 0 =>
            {
                State::InUse
            }
            Phase::Committed(Decision::Bind, _) => State::Bound,
        }
    }

    /// Why it is in that state.
    pub(crate) fn reason(&self, driver: Driver) -> Reason {
        match (&self.phase, driver) {
            (Phase::Committed(_, reason), _) => *reason,
            _ if self.heap_late => Reason::HeapLate,
            (_, Driver::Attached) => Reason::AlreadyProbed,
            (_, Driver::Stranger) => Reason::NoConsumer,
            (_, Driver::Absent) => Reason::Empty,
        }
    }

    /// What was decided, if anything.
    pub(crate) fn decision(&self) -> Option<Decision> {
        match self.phase {
            Phase::Committed(decision, _) => Some(decision),
            _ => None,
        }
    }

    /// The options, to be changed: `EBUSY` after the decision.
    pub(crate) fn options_mut(&mut self) -> Result<&mut Options> {
        match self.decision() {
            None => Ok(&mut self.options),
            Some(_) => Err(EBUSY),
        }
    }

    /// Names the heap. Buffers that were handed over before are of the heap named before, or left
    /// by a binder that was killed: they are let go.
    pub(crate) fn set_heap(&mut self, heap: KVec<u8>) -> Result {
        self.options_mut()?.heap = heap;
        self.firmware = None;
        self.suspend.clear();
        Ok(())
    }

    /// Opens the window.
    pub(crate) fn hold(&mut self, until: Instant<Monotonic>) {
        self.phase = Phase::Held(until);
    }

    /// Milliseconds until the window ends, if it is open.
    pub(crate) fn held_for(&self) -> Option<i64> {
        match self.phase {
            Phase::Held(until) => Some((until - Instant::now()).as_millis_ceil().max(0)),
            _ => None,
        }
    }

    /// The window ended by its timer.
    pub(crate) fn expire(&mut self) {
        self.phase = Phase::Open;
        self.heap_late = true;
    }

    /// Decides. `EBUSY` if that was done before; [`Decision::Bind`] needs a firmware buffer
    /// (`ENODATA`) that fits what the options say by now (`EMSGSIZE`, `EPERM`).
    pub(crate) fn commit(&mut self, decision: Decision, driver: Driver) -> Result {
        self.options_mut()?;
        let reason = match decision {
            Decision::Bind => {
                self.fits(Kind::Firmware, self.firmware.as_ref().ok_or(ENODATA)?)?;
                self.drop_small();
                // The ceiling may have been lowered since they were handed over.
                self.suspend.truncate(self.options.suspend_count as usize);
                Reason::Empty
            }
            Decision::None => {
                self.firmware = None;
                self.suspend.clear();
                self.reason(driver)
            }
        };
        self.phase = Phase::Committed(decision, reason);
        Ok(())
    }

    /// Whether a driver can take buffers.
    pub(crate) fn is_bound(&self) -> bool {
        !self.withdrawn && self.decision() == Some(Decision::Bind)
    }

    /// Whether `buffer` is among the binding's.
    pub(crate) fn holds(&self, buffer: &Buffer) -> bool {
        self.buffers().any(|own| own == buffer)
    }

    fn buffers(&self) -> impl Iterator<Item = &Buffer> {
        Iterator::chain(
            self.firmware.iter(),
            self.suspend.iter().map(|suspend| &suspend.buffer),
        )
    }

    /// Whether `buffer` can serve as `kind`: `EMSGSIZE` if it is too small, `EPERM` if the CPU can
    /// map it.
    fn fits(&self, kind: Kind, buffer: &Buffer) -> Result {
        let wanted = match kind {
            Kind::Firmware => self.options.firmware_bytes_wanted,
            Kind::Suspend => self.options.suspend_bytes,
        };
        if buffer.size() < wanted {
            return Err(EMSGSIZE);
        }
        if buffer.is_mappable() && (!self.options.allow_unprotected || is_locked_down()) {
            return Err(EPERM);
        }
        Ok(())
    }

    /// Takes a buffer that user space hands over; `twice` says that some binding has it already.
    ///
    /// For the errors see `uapi/protheap.h`.
    pub(crate) fn hand_over(&mut self, kind: Kind, buffer: Buffer, twice: bool) -> Result {
        if self.withdrawn {
            return Err(ENODEV);
        }
        if self.decision() == Some(Decision::None) {
            return Err(EBUSY);
        }
        self.fits(kind, &buffer)?;
        if twice {
            return Err(EEXIST);
        }
        if self
            .buffers()
            .next()
            .is_some_and(|first| !first.is_sibling_of(&buffer))
        {
            return Err(EXDEV);
        }
        match kind {
            Kind::Firmware if self.firmware.is_some() || self.decision().is_some() => Err(EBUSY),
            Kind::Firmware => {
                self.firmware = Some(buffer);
                Ok(())
            }
            Kind::Suspend if self.suspend.len() >= self.options.suspend_count as usize => {
                Err(ENOSPC)
            }
            Kind::Suspend => Ok(self.suspend.push(
                Suspend {
                    buffer,
                    in_use: false,
                },
                GFP_KERNEL,
            )?),
        }
    }

    /// Name of the exporter of the buffers.
    pub(crate) fn exporter(&self) -> &[u8] {
        self.buffers()
            .next()
            .map_or(&[], |first| first.exporter().to_bytes())
    }

    /// Bytes of the firmware's buffer, or 0.
    pub(crate) fn firmware_bytes(&self) -> usize {
        self.firmware.as_ref().map_or(0, Buffer::size)
    }

    /// Whether the driver took the firmware's buffer.
    pub(crate) fn firmware_in_use(&self) -> bool {
        self.firmware_in_use
    }

    /// The firmware's buffer, for the driver; the same each time, also after the binding was
    /// withdrawn, if the driver had taken it before.
    pub(crate) fn take_firmware(&mut self, size: usize) -> Result<Buffer> {
        if !self.is_bound() && !self.firmware_in_use {
            return Err(ENOENT);
        }
        let buffer = self.firmware.as_ref().ok_or(ENOENT)?;
        if buffer.size() < size {
            return Err(EMSGSIZE);
        }
        self.firmware_in_use = true;
        Ok(buffer.clone())
    }

    /// The driver tells the size of a suspend buffer. One that is large enough stays.
    pub(crate) fn configure_suspend(&mut self, size: usize) {
        if size > self.options.suspend_bytes {
            self.options.suspend_bytes = size;
            self.drop_small();
        }
    }

    fn drop_small(&mut self) {
        let wanted = self.options.suspend_bytes;
        self.suspend
            .retain(|suspend| suspend.in_use || suspend.buffer.size() >= wanted);
    }

    /// How many more suspend buffers user space should hand over.
    pub(crate) fn suspend_wanted(&self) -> usize {
        if !self.is_bound() || self.options.suspend_bytes == 0 {
            return 0;
        }
        (self.options.suspend_count as usize).saturating_sub(self.suspend.len())
    }

    /// How many suspend buffers are free.
    pub(crate) fn suspend_free(&self) -> usize {
        self.suspend.len() - self.suspend_in_use()
    }

    /// How many suspend buffers the driver holds.
    pub(crate) fn suspend_in_use(&self) -> usize {
        self.suspend.iter().filter(|suspend| suspend.in_use).count()
    }

    /// A free suspend buffer for the driver, still owned by the binding until it is put back.
    pub(crate) fn take_suspend(&mut self) -> Option<*mut bindings::dma_buf> {
        let suspend = self.suspend.iter_mut().find(|suspend| !suspend.in_use)?;
        suspend.in_use = true;
        Some(suspend.buffer.as_ptr())
    }

    /// The driver gives a suspend buffer back. It stays if it can still serve: the other free ones
    /// were looked at when the binding was withdrawn, or the size grew.
    pub(crate) fn put_suspend(&mut self, dmabuf: *mut bindings::dma_buf) {
        let mut all = self.suspend.iter_mut().enumerate();
        let Some((i, suspend)) = all.find(|(_, suspend)| suspend.buffer.as_ptr() == dmabuf) else {
            return;
        };
        if self.withdrawn || suspend.buffer.size() < self.options.suspend_bytes {
            // It cannot fail: `i` is the place of an element.
            let _ = self.suspend.remove(i);
        } else {
            suspend.in_use = false;
        }
    }

    /// The driver is gone; it may still hold suspend buffers.
    pub(crate) fn detach(&mut self) {
        self.told = false;
        self.firmware_in_use = false;
        if self.withdrawn {
            self.firmware = None;
        }
    }

    /// User space takes the binding back. What the driver holds stays.
    pub(crate) fn withdraw(&mut self) {
        self.withdrawn = true;
        self.suspend.retain(|suspend| suspend.in_use);
        if !self.firmware_in_use {
            self.firmware = None;
        }
    }

    /// Whether it was withdrawn, and nobody holds anything of it.
    pub(crate) fn is_over(&self) -> bool {
        self.withdrawn && self.firmware.is_none() && self.suspend.is_empty()
    }
}

/// Whether the kernel is locked down so far that it does not believe its administrator.
pub(crate) fn is_locked_down() -> bool {
    // SAFETY: Always safe to call in process context.
    unsafe { protheap_glue_locked_down() }
}
