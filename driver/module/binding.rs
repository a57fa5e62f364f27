// SPDX-License-Identifier: GPL-2.0

//! A binding of one GPU to one protected heap: what user space decided, and the buffers that came
//! of it.
//!
//! Nothing here locks, sleeps or knows a driver; [`crate::gpu`] does.

use crate::{
    abstractions::{
        dma_buf::DmaBuf,
        lockdown::is_locked_down, //
    },
    buffer::Buffer,
    pool::{
        Pool,
        Suspend, //
    },
    source::{
        self,
        Source, //
    },
    statistics::Statistics, //
};
use core::ptr::NonNull;
use kernel::{
    fmt,
    prelude::*,
    str::{
        BStr,
        CStr,
        CString, //
    },
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// Most suspend buffers that a binding may have: as many as a driver lets one process have groups.
pub(crate) const SUSPEND_COUNT_MAX: u32 = 128;

/// What user space states before it commits.
pub(crate) struct Options {
    /// Name of the heap. A buffer does not tell where it came from, so of one that was handed over
    /// this is only what user space says.
    pub(crate) heap: KVec<u8>,
    /// Which policy decided; for people.
    pub(crate) origin: KVec<u8>,
    /// Who allocates.
    pub(crate) source: &'static dyn Source,
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
    fn new() -> Self {
        Self {
            heap: KVec::new(),
            origin: KVec::new(),
            source: source::default(),
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
    /// Ask user space to bind the GPU when its driver wants a suspend buffer.
    Demand,
}

impl Decision {
    /// The decision of that name.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"bind" => Some(Decision::Bind),
            b"none" => Some(Decision::None),
            b"demand" => Some(Decision::Demand),
            _ => None,
        }
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Decision::Bind => "bind",
            Decision::None => "none",
            Decision::Demand => "demand",
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
    /// To be bound when the GPU's driver wants a suspend buffer.
    OnDemand,
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
            State::OnDemand => "on-demand",
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

impl Driver {
    /// A word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Driver::Absent => "absent",
            Driver::Stranger => "not-attached",
            Driver::Attached => "attached",
        }
    }
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

/// Buffers that a binding lacks, to be allocated while nothing is locked.
pub(crate) struct Request {
    source: &'static dyn Source,
    heap: CString,
    firmware: Option<usize>,
    suspend: (usize, usize),
}

/// Buffers that were allocated for a [`Request`].
#[derive(Default)]
pub(crate) struct Allocated {
    firmware: Option<DmaBuf>,
    suspend: KVec<DmaBuf>,
}

impl Request {
    /// Allocates the firmware buffer, then suspend buffers until the heap has no memory for more: one
    /// of them is enough. What was allocated before an error is returned as well.
    pub(crate) fn allocate(&self) -> (Allocated, Result) {
        let mut allocated = Allocated::default();
        let result = self.fill(&mut allocated);
        (allocated, result)
    }

    /// Bytes of a suspend buffer.
    pub(crate) fn suspend_bytes(&self) -> usize {
        self.suspend.1
    }

    fn fill(&self, allocated: &mut Allocated) -> Result {
        if let Some(bytes) = self.firmware {
            allocated.firmware = Some(self.source.allocate(&self.heap, bytes)?);
        }
        let (count, bytes) = self.suspend;
        for _ in 0..count {
            match self.source.allocate(&self.heap, bytes) {
                Ok(buffer) => allocated.suspend.push(buffer, GFP_KERNEL)?,
                Err(ENOMEM) if !allocated.suspend.is_empty() => break,
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }
}

/// A binding of a GPU, the owner.
///
/// # Invariants
///
/// - Once bound, there is a firmware buffer for as long as the binding is neither withdrawn nor
///   parked.
/// - All buffers come from the same exporter.
pub(crate) struct Binding<O> {
    /// What user space stated.
    pub(crate) options: Options,
    phase: Phase,
    /// Buffers are being allocated, to be bound.
    preparing: bool,
    heap_late: bool,
    withdrawn: bool,
    /// No buffer is allocated or taken until [`Binding::unpark`].
    parked: bool,
    /// User space binds on demand, and is notified when no group has a suspend buffer.
    on_demand: bool,
    /// The driver wants a suspend buffer, and user space is to bind the GPU.
    demanded: bool,
    firmware: Option<Buffer>,
    firmware_in_use: bool,
    suspend: Pool<O>,
    /// Whether the attached driver knows of this binding.
    pub(crate) told: bool,
    /// What happened to it.
    pub(crate) statistics: Statistics,
}

impl<O> Binding<O> {
    /// A binding of `owner` of which nothing is known yet.
    pub(crate) fn new(owner: NonNull<O>) -> Self {
        Self {
            options: Options::new(),
            phase: Phase::Open,
            preparing: false,
            heap_late: false,
            withdrawn: false,
            parked: false,
            on_demand: false,
            demanded: false,
            firmware: None,
            firmware_in_use: false,
            suspend: Pool::new(owner),
            told: false,
            statistics: Statistics::default(),
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
            Phase::Committed(Decision::Demand, _) => State::OnDemand,
            Phase::Committed(Decision::Bind, _) if self.is_in_use() => State::InUse,
            Phase::Committed(Decision::Bind, _) => State::Bound,
        }
    }

    /// Whether the driver holds buffers.
    pub(crate) fn is_in_use(&self) -> bool {
        self.firmware_in_use || self.suspend.in_use() > 0
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

    /// Whether user space has bound the GPU or decided against that.
    fn is_final(&self) -> bool {
        matches!(self.decision(), Some(Decision::Bind) | Some(Decision::None))
    }

    /// The options, to be changed: `EBUSY` after the decision, `EAGAIN` while the binding is parked.
    pub(crate) fn options_mut(&mut self) -> Result<&mut Options> {
        if self.parked {
            return Err(EAGAIN);
        }
        if self.is_final() || self.preparing {
            return Err(EBUSY);
        }
        Ok(&mut self.options)
    }

    /// Names the heap. Buffers that were handed over before are of the heap named before, or left
    /// by a binder that was killed: they are let go.
    pub(crate) fn set_heap(&mut self, heap: KVec<u8>) -> Result {
        self.options_mut()?.heap = heap;
        self.let_go();
        Ok(())
    }

    /// Says who allocates. Buffers of another source are let go.
    pub(crate) fn set_source(&mut self, source: &'static dyn Source) -> Result {
        let options = self.options_mut()?;
        if options.source.name() != source.name() {
            options.source = source;
            self.let_go();
        }
        Ok(())
    }

    /// Lets go of all buffers that the driver does not hold.
    fn let_go(&mut self) {
        if !self.firmware_in_use {
            self.firmware = None;
        }
        self.suspend.truncate(0);
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

    /// Begins to bind: what is lacking is to be allocated and brought to [`Binding::bind`].
    /// `EBUSY` after a decision, or while it is being made.
    pub(crate) fn prepare(&mut self) -> Result<Request> {
        let wanted = self.options_mut()?.firmware_bytes_wanted;
        if self.firmware.is_none() && wanted == 0 {
            return Err(ENODATA);
        }
        let firmware = self.firmware.is_none().then_some(wanted);
        let request = self.request(firmware, self.suspend_lacking())?;
        self.preparing = true;
        Ok(request)
    }

    fn request(&self, firmware: Option<usize>, suspend: usize) -> Result<Request> {
        let mut heap = KVec::new();
        heap.extend_from_slice(&self.options.heap, GFP_KERNEL)?;
        heap.push(0, GFP_KERNEL)?;
        Ok(Request {
            source: self.options.source,
            heap: CStr::from_bytes_with_nul(&heap)
                .map_err(|_| EINVAL)?
                .try_into()?,
            firmware,
            suspend: (suspend, self.options.suspend_bytes),
        })
    }

    /// Binds, with what was allocated: it may have fewer suspend buffers than the options allow. It
    /// needs a firmware buffer (`ENODATA`) that fits what the options say by now (`EMSGSIZE`,
    /// `EPERM`). `EAGAIN` if the binding was parked meanwhile.
    pub(crate) fn bind(&mut self, allocated: Allocated, result: Result) -> Result {
        self.preparing = false;
        if self.parked {
            return Err(EAGAIN);
        }
        match result {
            // Suspend buffers that are to be handed over can come later.
            Err(ENODATA) if self.firmware.is_some() => (),
            result => result?,
        }
        let bound = self.adopt(allocated).and_then(|()| {
            self.fits(Kind::Firmware, self.firmware.as_ref().ok_or(ENODATA)?)?;
            Ok(())
        });
        if let Err(err) = bound {
            if !self.options.source.is_handed() {
                self.let_go();
            }
            return Err(err);
        }
        self.drop_small();
        // The ceiling may have been lowered since they were handed over.
        self.suspend.truncate(self.options.suspend_count as usize);
        self.phase = Phase::Committed(Decision::Bind, Reason::Empty);
        self.demanded = false;
        Ok(())
    }

    /// Commits to binding on demand. Releases all buffers but a firmware buffer that the driver holds.
    /// `EBUSY` after a decision against a binding, while one is made, or while a group has a suspend
    /// buffer; `EAGAIN` while the binding is parked.
    pub(crate) fn bind_on_demand(&mut self) -> Result {
        if self.parked {
            return Err(EAGAIN);
        }
        let in_use = self.suspend.in_use() > 0;
        if self.decision() == Some(Decision::None) || self.preparing || in_use {
            return Err(EBUSY);
        }
        self.let_go();
        self.phase = Phase::Committed(Decision::Demand, Reason::Empty);
        self.on_demand = true;
        self.demanded = false;
        self.told = false;
        Ok(())
    }

    /// Whether it is to be bound on demand, and is not bound.
    pub(crate) fn awaits_demand(&self) -> bool {
        !self.withdrawn && self.decision() == Some(Decision::Demand)
    }

    /// Notes that the driver waits for a suspend buffer, or that it timed out.
    pub(crate) fn set_demanded(&mut self, demanded: bool) {
        self.demanded = demanded && self.awaits_demand();
    }

    /// Whether user space is to bind the GPU now.
    pub(crate) fn is_demanded(&self) -> bool {
        self.demanded && self.awaits_demand()
    }

    /// Whether user space binds on demand, bound at the moment or not.
    pub(crate) fn is_on_demand(&self) -> bool {
        self.on_demand
    }

    fn adopt(&mut self, allocated: Allocated) -> Result {
        if let Some(buffer) = allocated.firmware {
            self.take_over(Kind::Firmware, buffer)?;
        }
        for buffer in allocated.suspend {
            self.take_over(Kind::Suspend, buffer)?;
        }
        Ok(())
    }

    /// Decides against a binding. `EBUSY` after a decision, or while one is made.
    pub(crate) fn decide_against(&mut self, driver: Driver) -> Result {
        self.options_mut()?;
        self.let_go();
        self.phase = Phase::Committed(Decision::None, self.reason(driver));
        Ok(())
    }

    /// Whether user space took it back.
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.withdrawn
    }

    /// Whether the CPU can map its buffers.
    pub(crate) fn is_unprotected(&self) -> bool {
        self.buffers().any(|buffer| buffer.is_mappable())
    }

    /// Whether a driver can take buffers.
    pub(crate) fn is_bound(&self) -> bool {
        !self.withdrawn && !self.parked && self.decision() == Some(Decision::Bind)
    }

    fn buffers(&self) -> impl Iterator<Item = &Buffer> {
        Iterator::chain(self.firmware.iter(), self.suspend.buffers())
    }

    /// Whether `buffer` can serve as `kind`: `EMSGSIZE` if it is too small, `EPERM` if the CPU can
    /// map it.
    fn fits(&self, kind: Kind, buffer: &DmaBuf) -> Result {
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

    /// Takes a buffer that user space hands over.
    ///
    /// For the errors see `uapi/protheap.h`.
    pub(crate) fn hand_over(&mut self, kind: Kind, buffer: DmaBuf) -> Result {
        if self.withdrawn {
            return Err(ENODEV);
        }
        if !self.options.source.is_handed() {
            return Err(EOPNOTSUPP);
        }
        if self.parked {
            return Err(EAGAIN);
        }
        if self.preparing || self.decision() == Some(Decision::None) {
            return Err(EBUSY);
        }
        self.fits(kind, &buffer)?;
        let buffer = Buffer::claim(buffer)?;
        match kind {
            Kind::Firmware if self.firmware.is_some() || self.is_final() => Err(EBUSY),
            Kind::Suspend if self.suspend.len() >= self.options.suspend_count as usize => {
                Err(ENOSPC)
            }
            _ => self.add(kind, buffer),
        }
    }

    /// Takes a buffer if it can serve: `EMSGSIZE`, `EPERM`, `EEXIST` or `EXDEV` if not.
    fn take_over(&mut self, kind: Kind, buffer: DmaBuf) -> Result {
        self.fits(kind, &buffer)?;
        self.add(kind, Buffer::claim(buffer)?)
    }

    /// Adds a buffer that fits. `EXDEV` if it has another exporter than the other buffers.
    fn add(&mut self, kind: Kind, buffer: Buffer) -> Result {
        if let Some(first) = self.buffers().next() {
            if !first.is_sibling_of(&buffer) {
                return Err(EXDEV);
            }
        }
        match kind {
            Kind::Firmware => self.firmware = Some(buffer),
            Kind::Suspend => self.suspend.add(buffer)?,
        }
        Ok(())
    }

    /// One suspend buffer, if the kernel is to allocate some by now: the driver may wait for it.
    pub(crate) fn lacking(&self) -> Option<Request> {
        if !self.is_bound() || self.options.source.is_handed() || self.suspend_lacking() == 0 {
            return None;
        }
        self.request(None, 1).ok()
    }

    /// Adds the buffers allocated for [`Binding::lacking`].
    ///
    /// An error means that another request would be no better, and must end the caller's loop. The
    /// only buffer dropped without an error is one that had the requested size when the driver
    /// configured a larger one: the next request is another one. ([`Request::allocate`] fails if
    /// the heap returns less than requested.)
    pub(crate) fn supply(&mut self, allocated: Allocated) -> Result {
        for buffer in allocated.suspend {
            if !self.is_bound() || self.suspend_lacking() == 0 {
                break;
            }
            if buffer.size() >= self.options.suspend_bytes {
                self.take_over(Kind::Suspend, buffer)?;
            }
        }
        Ok(())
    }

    /// Number of buffers, and their bytes.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        self.buffers().fold((0, 0), |(count, bytes), buffer| {
            (count + 1, bytes.saturating_add(buffer.size()))
        })
    }

    /// Name of the exporter of the buffers.
    pub(crate) fn exporter(&self) -> &[u8] {
        self.buffers()
            .next()
            .map_or(&[], |first| first.exporter().to_bytes())
    }

    /// Bytes of the firmware's buffer, or 0.
    pub(crate) fn firmware_bytes(&self) -> usize {
        self.firmware.as_ref().map_or(0, |buffer| buffer.size())
    }

    /// Whether the driver took the firmware's buffer.
    pub(crate) fn firmware_in_use(&self) -> bool {
        self.firmware_in_use
    }

    /// The firmware's buffer, for the driver; the same each time, also after the binding was
    /// withdrawn, if the driver had taken it before.
    pub(crate) fn take_firmware(&mut self, size: usize) -> Result<DmaBuf> {
        if !self.is_bound() && !self.firmware_in_use {
            return Err(ENOENT);
        }
        let buffer = self.firmware.as_ref().ok_or(ENOENT)?;
        if buffer.size() < size {
            return Err(EMSGSIZE);
        }
        self.firmware_in_use = true;
        Ok(DmaBuf::clone(buffer))
    }

    /// The driver tells the size of a suspend buffer. One that is large enough stays.
    pub(crate) fn configure_suspend(&mut self, size: usize) {
        self.options.suspend_bytes = size;
        self.drop_small();
    }

    fn drop_small(&mut self) {
        let wanted = self.options.suspend_bytes;
        self.suspend.retain(|buffer| buffer.size() >= wanted);
    }

    /// How many suspend buffers there may be beside those that there are.
    pub(crate) fn suspend_lacking(&self) -> usize {
        if self.options.suspend_bytes == 0 {
            return 0;
        }
        (self.options.suspend_count as usize).saturating_sub(self.suspend.len())
    }

    /// How many more suspend buffers user space should hand over.
    pub(crate) fn suspend_wanted(&self) -> usize {
        if !self.is_bound() || !self.options.source.is_handed() {
            return 0;
        }
        self.suspend_lacking()
    }

    /// The suspend buffers.
    pub(crate) fn suspend(&self) -> &Pool<O> {
        &self.suspend
    }

    /// Returns a free suspend buffer for a client of the driver that holds `held` of them, still
    /// owned by the binding until it is put back.
    ///
    /// `EDQUOT` if the client holds `limit`, or if that is 0, half of the buffers that there are,
    /// at least 1; `ENOBUFS` if none is free.
    pub(crate) fn take_suspend(&mut self, held: u32, limit: u32) -> Result<NonNull<Suspend<O>>> {
        let limit = match limit {
            0 => (self.suspend.len() / 2).max(1),
            limit => limit as usize,
        };
        if held as usize >= limit {
            return Err(EDQUOT);
        }
        self.suspend.take().ok_or(ENOBUFS)
    }

    /// Whether there are fewer suspend buffers than there should be.
    pub(crate) fn is_lacking(&self) -> bool {
        self.suspend_lacking() > 0
    }

    /// The driver gives a suspend buffer back. True: it can serve again, and stays.
    pub(crate) fn put_suspend(&mut self, suspend: NonNull<Suspend<O>>) -> bool {
        let (keep, wanted) = (!self.withdrawn && !self.parked, self.options.suspend_bytes);
        self.suspend
            .put(suspend, |buffer| keep && buffer.size() >= wanted)
    }

    /// The driver no longer uses the firmware's buffer.
    pub(crate) fn put_firmware(&mut self) {
        self.firmware_in_use = false;
        if self.withdrawn || self.parked || self.awaits_demand() {
            self.firmware = None;
        }
    }

    /// The driver is gone; it may still hold suspend buffers.
    pub(crate) fn detach(&mut self) {
        self.told = false;
        self.put_firmware();
    }

    /// Stops all allocation and use of further buffers: an image of the kernel is taken or restored.
    pub(crate) fn park(&mut self) {
        self.parked = true;
    }

    /// Whether [`Binding::park`] was called.
    pub(crate) fn is_parked(&self) -> bool {
        self.parked
    }

    /// Releases the buffers of a parked binding that the driver does not hold. It is notified again
    /// when there are new ones.
    pub(crate) fn empty(&mut self) {
        self.told = false;
        self.let_go();
    }

    /// The buffers that a parked binding needs to be bound as before; [`None`] if it has them.
    pub(crate) fn refill(&self) -> Option<Result<Request>> {
        let emptied = self.firmware.is_none() && self.decision() == Some(Decision::Bind);
        (self.parked && !self.withdrawn && emptied).then(|| {
            let firmware = Some(self.options.firmware_bytes_wanted);
            self.request(firmware, self.suspend_lacking())
        })
    }

    /// Ends [`Binding::park`], with the buffers allocated for [`Binding::refill`]. Without a
    /// firmware buffer nothing is decided any more.
    pub(crate) fn unpark(&mut self, refill: Option<(Allocated, Result)>) -> Result {
        self.parked = false;
        let Some((allocated, result)) = refill else {
            return Ok(());
        };
        let adopted = self.adopt(allocated);
        if self.firmware.is_some() {
            // Suspend buffers that are lacking are supplied later.
            return adopted;
        }
        self.let_go();
        self.phase = Phase::Open;
        adopted.and(result).and(Err(ENODATA))
    }

    /// User space takes the binding back. What the driver holds stays.
    pub(crate) fn withdraw(&mut self) {
        self.withdrawn = true;
        self.let_go();
    }

    /// Whether it was withdrawn, and nobody holds anything of it.
    pub(crate) fn is_over(&self) -> bool {
        self.withdrawn && self.firmware.is_none() && self.suspend.len() == 0
    }

    /// Writes what debugfs shows of it.
    pub(crate) fn show(&self, driver: Driver, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (buffers, bytes) = self.sizes();
        let options = &self.options;
        out.write_fmt(fmt!("heap {}\n", BStr::from_bytes(&options.heap)))?;
        writeln!(out, "source {}", options.source.name())?;
        writeln!(out, "state {}", self.state().name())?;
        writeln!(out, "reason {}", self.reason(driver).name())?;
        writeln!(out, "withdrawn {}", u8::from(self.withdrawn))?;
        writeln!(out, "buffers {buffers}")?;
        writeln!(out, "bytes {bytes}")?;
        let in_use = usize::from(self.firmware_in_use) + self.suspend.in_use();
        writeln!(out, "in-use {in_use}")?;
        writeln!(out, "suspend-free {}", self.suspend.free())?;
        writeln!(out, "suspend-in-use {}", self.suspend.in_use())?;
        writeln!(out, "suspend-peak {}", self.suspend.peak())?;
        writeln!(out, "suspend-waits {}", self.statistics.waits)?;
        writeln!(out, "suspend-exhausted {}", self.statistics.exhausted)?;
        writeln!(out, "suspend-over-limit {}", self.statistics.over_limit)?;
        for (reason, count) in self.statistics.refusals() {
            writeln!(out, "refused-{reason} {count}")?;
        }
        Ok(())
    }
}

#[kunit_tests(protheap_binding)]
mod tests {
    use super::{
        Binding as OwnedBinding,
        *, //
    };
    use crate::source::{
        from_name,
        tests::buffer, //
    };
    use kernel::sync::atomic::{
        Atomic,
        Relaxed, //
    };

    type Binding = OwnedBinding<()>;

    /// An open binding whose buffers are handed over, and may be of any memory.
    fn binding(suspend_bytes: usize, suspend_count: u32) -> Result<Binding> {
        let mut binding = Binding::new(NonNull::dangling());
        binding.set_source(from_name(b"handed").ok_or(EINVAL)?)?;
        let options = binding.options_mut()?;
        options.firmware_bytes_wanted = 8192;
        options.suspend_bytes = suspend_bytes;
        options.suspend_count = suspend_count;
        options.allow_unprotected = true;
        Ok(binding)
    }

    /// What the module does at a commit, but for the locks.
    fn bind(binding: &mut Binding) -> Result {
        let request = binding.prepare()?;
        let (allocated, result) = request.allocate();
        binding.bind(allocated, result)
    }

    fn bound(suspend_bytes: usize, suspend_count: u32) -> Result<Binding> {
        let mut binding = binding(suspend_bytes, suspend_count)?;
        binding.hand_over(Kind::Firmware, buffer(8192)?)?;
        for _ in 0..suspend_count {
            binding.hand_over(Kind::Suspend, buffer(suspend_bytes)?)?;
        }
        bind(&mut binding)?;
        Ok(binding)
    }

    #[test]
    fn what_is_handed_over_is_judged() -> Result {
        let mut binding = binding(4096, 1)?;
        let twice = buffer(8192)?;
        let mut hand = |kind, bytes| binding.hand_over(kind, buffer(bytes)?);
        assert!(hand(Kind::Firmware, 4096) == Err(EMSGSIZE));
        assert!(hand(Kind::Firmware, 8192).is_ok());
        assert!(hand(Kind::Firmware, 8192) == Err(EBUSY));
        assert!(hand(Kind::Suspend, 4096).is_ok());
        assert!(hand(Kind::Suspend, 4096) == Err(ENOSPC));
        binding.options_mut()?.suspend_count = 3;
        binding.hand_over(Kind::Suspend, twice.clone())?;
        assert!(binding.hand_over(Kind::Suspend, twice) == Err(EEXIST));
        binding.options_mut()?.allow_unprotected = false;
        assert!(bind(&mut binding) == Err(EPERM));
        Ok(())
    }

    #[test]
    fn a_buffer_belongs_to_one_binding_until_released() -> Result {
        let shared = buffer(8192)?;
        let mut first = binding(4096, 0)?;
        let mut second = binding(4096, 0)?;
        first.hand_over(Kind::Firmware, shared.clone())?;
        assert!(second.hand_over(Kind::Firmware, shared.clone()) == Err(EEXIST));
        first.withdraw();
        second.hand_over(Kind::Firmware, shared)
    }

    #[test]
    fn nothing_changes_after_a_commit() -> Result {
        let mut binding = binding(4096, 0)?;
        assert!(bind(&mut binding) == Err(ENODATA));
        binding.hand_over(Kind::Firmware, buffer(8192)?)?;
        bind(&mut binding)?;
        assert!(binding.state() == State::Bound);
        assert!(bind(&mut binding) == Err(EBUSY));
        assert!(binding.decide_against(Driver::Absent) == Err(EBUSY));
        assert!(binding.options_mut().is_err());
        assert!(binding.set_heap(KVec::new()) == Err(EBUSY));
        assert!(binding.hand_over(Kind::Firmware, buffer(8192)?) == Err(EBUSY));
        Ok(())
    }

    #[test]
    fn nor_while_one_is_made() -> Result {
        let mut binding = binding(4096, 0)?;
        binding.hand_over(Kind::Firmware, buffer(8192)?)?;
        let request = binding.prepare()?;
        assert!(binding.prepare().is_err() && binding.options_mut().is_err());
        assert!(binding.hand_over(Kind::Suspend, buffer(4096)?) == Err(EBUSY));
        let (allocated, result) = request.allocate();
        binding.bind(allocated, result)?;
        assert!(binding.is_bound());
        Ok(())
    }

    #[test]
    fn a_driver_gets_the_same_firmware_buffer() -> Result {
        let mut binding = bound(4096, 0)?;
        assert!(binding.take_firmware(8193).err() == Some(EMSGSIZE));
        let first = binding.take_firmware(8192)?;
        assert!(binding.state() == State::InUse);
        binding.detach();
        assert!(binding.state() == State::Bound);
        assert!(binding.take_firmware(1)? == first);
        Ok(())
    }

    #[test]
    fn what_is_withdrawn_lives_until_the_driver_lets_go() -> Result {
        let mut binding = bound(4096, 2)?;
        drop(binding.take_firmware(1)?);
        let group = binding.take_suspend(0, 0)?;
        binding.withdraw();
        assert!(binding.state() == State::Absent && !binding.is_bound());
        assert_eq!(binding.sizes(), (2, 8192 + 4096));
        // The driver may boot its firmware again meanwhile.
        assert!(binding.take_firmware(1).is_ok());
        assert!(binding.hand_over(Kind::Suspend, buffer(4096)?) == Err(ENODEV));
        binding.detach();
        assert!(!binding.is_over());
        assert!(!binding.put_suspend(group));
        assert!(binding.is_over());
        Ok(())
    }

    #[test]
    fn a_binding_on_demand_is_released_and_bound_again() -> Result {
        let mut binding = bound(4096, 1)?;
        drop(binding.take_firmware(1)?);
        let group = binding.take_suspend(0, 0)?;
        assert!(binding.bind_on_demand() == Err(EBUSY));
        assert!(binding.put_suspend(group));
        binding.bind_on_demand()?;
        assert!(binding.state() == State::OnDemand && !binding.is_bound());
        // The driver still holds the firmware's buffer.
        assert_eq!(binding.sizes(), (1, 8192));
        binding.put_firmware();
        assert_eq!(binding.sizes(), (0, 0));

        assert!(!binding.is_demanded());
        binding.set_demanded(true);
        assert!(binding.is_demanded());
        binding.hand_over(Kind::Firmware, buffer(8192)?)?;
        bind(&mut binding)?;
        assert!(binding.is_bound() && !binding.is_demanded() && binding.is_on_demand());
        Ok(())
    }

    #[test]
    fn the_driver_tells_the_size_of_a_suspend_buffer() -> Result {
        let mut binding = bound(4096, 3)?;
        let group = binding.take_suspend(0, 0)?;
        binding.configure_suspend(2048);
        assert_eq!((binding.suspend().len(), binding.suspend_wanted()), (3, 0));
        binding.configure_suspend(8192);
        assert_eq!((binding.suspend().len(), binding.suspend_wanted()), (1, 2));
        assert!(!binding.put_suspend(group));
        assert_eq!(binding.suspend_wanted(), 3);
        assert!(binding.hand_over(Kind::Suspend, buffer(4096)?) == Err(EMSGSIZE));
        for _ in 0..3 {
            binding.hand_over(Kind::Suspend, buffer(8192)?)?;
        }
        assert_eq!(binding.suspend_wanted(), 0);
        Ok(())
    }

    #[test]
    fn a_client_gets_half_of_the_suspend_buffers() -> Result {
        let mut binding = bound(4096, 5)?;
        assert!(binding.take_suspend(0, 0).is_ok());
        assert!(binding.take_suspend(1, 0).is_ok());
        assert!(binding.take_suspend(2, 0) == Err(EDQUOT));
        assert!(binding.take_suspend(2, 3).is_ok());
        assert!(binding.take_suspend(3, 3) == Err(EDQUOT));
        // Another client.
        assert!(binding.take_suspend(0, 0).is_ok());
        assert!(binding.take_suspend(1, 0).is_ok());
        assert!(binding.take_suspend(0, 0) == Err(ENOBUFS));
        Ok(())
    }

    #[test]
    fn the_only_suspend_buffer_is_for_any_client() -> Result {
        let mut binding = bound(4096, 1)?;
        assert!(binding.take_suspend(1, 0) == Err(EDQUOT));
        assert!(binding.take_suspend(0, 0).is_ok());
        Ok(())
    }

    #[test]
    fn a_client_gets_half_of_what_there_is_and_not_of_what_is_wanted() -> Result {
        let mut binding = binding(4096, 8)?;
        binding.hand_over(Kind::Firmware, buffer(8192)?)?;
        for _ in 0..4 {
            binding.hand_over(Kind::Suspend, buffer(4096)?)?;
        }
        bind(&mut binding)?;
        assert!(binding.is_lacking());
        assert!(binding.take_suspend(0, 0).is_ok());
        assert!(binding.take_suspend(1, 0).is_ok());
        assert!(binding.take_suspend(2, 0) == Err(EDQUOT));
        Ok(())
    }

    #[test]
    fn a_window_ends() -> Result {
        let mut binding = binding(4096, 0)?;
        binding.hold(Instant::now());
        assert!(binding.state() == State::Held);
        assert!(binding.held_for() == Some(0));
        binding.expire();
        assert!(binding.state() == State::Open && binding.held_for().is_none());
        assert!(binding.reason(Driver::Attached) == Reason::HeapLate);
        binding.decide_against(Driver::Attached)?;
        assert!(binding.state() == State::None);
        assert!(binding.reason(Driver::Absent) == Reason::HeapLate);
        Ok(())
    }

    /// Gives so many buffers, and is exhausted then.
    struct Exhausted(Atomic<u32>);

    impl Source for Exhausted {
        fn name(&self) -> &'static str {
            "exhausted"
        }

        fn is_handed(&self) -> bool {
            false
        }

        fn allocate(&self, _heap: &CStr, bytes: usize) -> Result<DmaBuf> {
            match self.0.load(Relaxed) {
                0 => Err(ENOMEM),
                left => {
                    self.0.store(left - 1, Relaxed);
                    buffer(bytes)
                }
            }
        }
    }

    #[test]
    fn bind_takes_fewer_suspend_buffers_than_allowed() -> Result {
        static HEAP: Exhausted = Exhausted(Atomic::new(0));
        let bind_with = |buffers, count| {
            HEAP.0.store(buffers, Relaxed);
            let mut binding = binding(4096, count)?;
            binding.options_mut()?.source = &HEAP;
            bind(&mut binding)?;
            Ok::<_, Error>((binding.suspend().len(), binding.suspend_lacking()))
        };
        assert!(bind_with(0, 0) == Err(ENOMEM));
        assert!(bind_with(1, 0) == Ok((0, 0)));
        assert!(bind_with(1, 4) == Err(ENOMEM));
        assert!(bind_with(2, 4) == Ok((1, 3)));
        assert!(bind_with(4, 4) == Ok((3, 1)));
        assert!(bind_with(5, 4) == Ok((4, 0)));
        Ok(())
    }

    #[test]
    fn supply_ends_with_an_error_if_no_buffer_was_added() -> Result {
        let mut binding = bound(4096, 1)?;
        binding.configure_suspend(8192);
        let twice = buffer(8192)?;
        let supply = |binding: &mut Binding, buffer: DmaBuf| -> Result {
            let mut allocated = Allocated::default();
            allocated.suspend.push(buffer, GFP_KERNEL)?;
            binding.supply(allocated)
        };
        // The driver configured a larger size meanwhile.
        supply(&mut binding, buffer(4096)?)?;
        assert_eq!(binding.suspend().len(), 0);
        supply(&mut binding, twice.clone())?;
        binding.configure_suspend(4096);
        binding.options.suspend_count = 2;
        assert!(supply(&mut binding, twice) == Err(EEXIST));
        binding.options.allow_unprotected = false;
        assert!(supply(&mut binding, buffer(4096)?) == Err(EPERM));
        Ok(())
    }

    #[test]
    fn a_parked_binding_releases_its_buffers_and_is_refilled() -> Result {
        let mut binding = bound(4096, 1)?;
        drop(binding.take_firmware(1)?);
        binding.park();
        assert!(!binding.is_bound() && binding.state() == State::InUse);
        binding.empty();
        assert_eq!(binding.sizes(), (1, 8192));
        binding.put_firmware();
        assert_eq!(binding.sizes(), (0, 0));
        assert!(binding.state() == State::Bound);
        assert!(binding.take_firmware(1).err() == Some(ENOENT));
        assert!(binding.hand_over(Kind::Suspend, buffer(4096)?) == Err(EAGAIN));
        let request = binding.refill().ok_or(EINVAL)??;
        // User space has to hand its buffers over again.
        assert!(binding.unpark(Some(request.allocate())).is_err());
        assert!(binding.state() == State::Open);
        binding.hand_over(Kind::Firmware, buffer(8192)?)?;
        bind(&mut binding)
    }

    #[test]
    fn the_kernel_allocates_what_is_lacking() -> Result {
        let Some(kernel) = from_name(b"kernel") else {
            return Ok(());
        };
        let mut binding = binding(4096, 2)?;
        binding.set_source(kernel)?;
        let mut heap = KVec::new();
        heap.extend_from_slice(b"system", GFP_KERNEL)?;
        binding.set_heap(heap)?;
        assert!(binding.hand_over(Kind::Firmware, buffer(8192)?) == Err(EOPNOTSUPP));
        bind(&mut binding)?;
        assert_eq!((binding.sizes(), binding.suspend_wanted()), ((3, 16384), 0));
        assert!(binding.lacking().is_none());
        binding.configure_suspend(16384);
        while let Some(request) = binding.lacking() {
            let (allocated, result) = request.allocate();
            binding.supply(allocated)?;
            result?;
        }
        assert_eq!(binding.sizes(), (3, 8192 + 2 * 16384));
        Ok(())
    }
}
