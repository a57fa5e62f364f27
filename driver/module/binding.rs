// SPDX-License-Identifier: GPL-2.0

//! A binding of one GPU to one protected heap: what user space committed, and the buffers.
//!
//! Nothing here locks, sleeps or knows a driver; [`crate::gpu`] does.

mod buffers;
mod decision;
mod options;
mod parking;
mod request;
mod state;
mod supply;
mod tests;

pub(crate) use buffers::{
    Buffers,
    Kind, //
};
pub(crate) use decision::Decision;
pub(crate) use options::{
    Options,
    SUSPEND_COUNT_MAX, //
};
pub(crate) use request::{
    Allocated,
    Request, //
};
pub(crate) use state::{
    Driver,
    Reason,
    State, //
};

use crate::abstractions::compat::{
    as_millis_ceil,
    EDQUOT,
    ENOBUFS,
    ENODATA, //
};
use crate::{
    abstractions::dma_buf::DmaBuf,
    pool::{
        Pool,
        Suspend, //
    },
    source::Source,
    statistics::Statistics, //
};
use core::ptr::NonNull;
use kernel::{
    fmt,
    prelude::*,
    str::BStr,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// Progress of the commit.
enum Phase {
    /// Not committed; the GPU can probe.
    Open,
    /// Not committed; the GPU's probe is deferred until then.
    Held(Instant<Monotonic>),
    /// To be bound when the driver needs a suspend buffer.
    OnDemand {
        /// The driver needs one now.
        is_demanded: bool,
    },
    /// Bound.
    Bound,
    /// Committed to no protected memory.
    None(Reason),
}

/// A binding of a GPU, the owner.
///
/// # Invariants
///
/// Once bound, there is a firmware buffer for as long as the binding is neither withdrawn nor
/// parked.
pub(crate) struct Binding<O> {
    /// Options that user space set.
    pub(crate) options: Options,
    /// Minimum size of each suspend buffer: that of the driver, or of the options until it has one.
    suspend_bytes: usize,
    phase: Phase,
    /// [`Binding::prepare`] was called; [`Binding::bind`] is to follow.
    is_preparing: bool,
    /// A hold has timed out.
    heap_late: bool,
    is_withdrawn: bool,
    /// No buffer is allocated or taken until [`Binding::unpark`].
    is_parked: bool,
    /// User space has chosen to bind on demand: it is notified when no group has a suspend buffer.
    is_on_demand: bool,
    buffers: Buffers<O>,
    /// The attached driver was notified of this binding, or has attached since.
    pub(crate) is_notified: bool,
    /// Statistics.
    pub(crate) statistics: Statistics,
}

/// Commit.
impl<O> Binding<O> {
    /// Creates a binding of `owner` that is not committed.
    pub(crate) fn new(owner: NonNull<O>) -> Self {
        Self {
            options: Options::new(),
            suspend_bytes: 0,
            phase: Phase::Open,
            is_preparing: false,
            heap_late: false,
            is_withdrawn: false,
            is_parked: false,
            is_on_demand: false,
            buffers: Buffers::new(owner),
            is_notified: false,
            statistics: Statistics::default(),
        }
    }

    /// Returns the state that user space sees.
    pub(crate) fn state(&self) -> State {
        if self.is_withdrawn {
            return State::Absent;
        }
        match self.phase {
            Phase::Open => State::Open,
            Phase::Held(_) => State::Held,
            Phase::OnDemand { .. } => State::OnDemand,
            Phase::Bound if self.is_in_use() => State::InUse,
            Phase::Bound => State::Bound,
            Phase::None(_) => State::None,
        }
    }

    /// Returns the reason for the state.
    pub(crate) fn reason(&self, driver: Driver) -> Reason {
        match (&self.phase, driver) {
            (Phase::None(reason), _) => *reason,
            (Phase::Bound | Phase::OnDemand { .. }, _) => Reason::Empty,
            _ if self.heap_late => Reason::HeapLate,
            (_, Driver::Attached) => Reason::AlreadyProbed,
            (_, Driver::Unattached) => Reason::NoConsumer,
            (_, Driver::Absent) => Reason::Empty,
        }
    }

    /// Returns what the binding is committed to.
    pub(crate) fn decision(&self) -> Option<Decision> {
        match self.phase {
            Phase::Open | Phase::Held(_) => None,
            Phase::OnDemand { .. } => Some(Decision::Demand),
            Phase::Bound => Some(Decision::Bind),
            Phase::None(_) => Some(Decision::None),
        }
    }

    /// Returns whether the binding is committed to `Bind` or `None`.
    fn is_final(&self) -> bool {
        matches!(self.phase, Phase::Bound | Phase::None(_))
    }

    /// Returns the options for a change. `EBUSY` after or during a commit, `EAGAIN` while the
    /// binding is parked.
    pub(crate) fn options_mut(&mut self) -> Result<&mut Options> {
        if self.is_parked {
            return Err(EAGAIN);
        }
        if self.is_final() || self.is_preparing {
            return Err(EBUSY);
        }
        Ok(&mut self.options)
    }

    /// Sets the heap. Releases buffers that were handed over before: they are of another heap, or of
    /// a binder that was killed.
    pub(crate) fn set_heap(&mut self, heap: KVec<u8>) -> Result {
        self.options_mut()?.heap = heap;
        self.buffers.release_unused();
        Ok(())
    }

    /// Sets the allocator. Releases buffers of another one.
    pub(crate) fn set_source(&mut self, source: &'static dyn Source) -> Result {
        let options = self.options_mut()?;
        if options.source.name() != source.name() {
            options.source = source;
            self.buffers.release_unused();
        }
        Ok(())
    }

    /// Sets the size of a suspend buffer, until the driver configures its own.
    pub(crate) fn set_suspend_bytes(&mut self, bytes: usize) -> Result {
        self.options_mut()?.suspend_bytes_wanted = bytes;
        self.suspend_bytes = bytes;
        Ok(())
    }

    /// Holds the GPU until then.
    pub(crate) fn hold(&mut self, until: Instant<Monotonic>) {
        self.phase = Phase::Held(until);
    }

    /// Returns the time left until the hold times out, in milliseconds, if the GPU is held.
    pub(crate) fn hold_left_ms(&self) -> Option<i64> {
        match self.phase {
            Phase::Held(until) => Some(as_millis_ceil(until - Instant::now()).max(0)),
            _ => None,
        }
    }

    /// Ends the hold, which has timed out.
    pub(crate) fn expire(&mut self) {
        self.phase = Phase::Open;
        self.heap_late = true;
    }

    /// Begins to bind. The request is to be allocated and passed to [`Binding::bind`].
    ///
    /// `EBUSY` after or during a commit; `EAGAIN` while the binding is parked;
    /// `ENODATA` if the size of the firmware's buffer is unknown.
    pub(crate) fn prepare(&mut self) -> Result<Request> {
        let wanted = self.options_mut()?.firmware_bytes_wanted;
        let lacks_firmware = self.buffers.firmware().is_none();
        if lacks_firmware && wanted == 0 {
            return Err(ENODATA);
        }
        let request = self.request(lacks_firmware, self.suspend_lacking())?;
        self.is_preparing = true;
        Ok(request)
    }

    /// Binds with the allocated buffers, possibly fewer suspend buffers than the options allow.
    ///
    /// `ENODATA` if there is no firmware buffer; `EMSGSIZE` or `EMEDIUMTYPE` if it does not fit the
    /// options; `EAGAIN` if the binding was parked meanwhile.
    pub(crate) fn bind(&mut self, allocated: Allocated, result: Result) -> Result {
        self.is_preparing = false;
        if self.is_parked {
            return Err(EAGAIN);
        }
        match result {
            // Suspend buffers can be handed over later.
            Err(ENODATA) if self.buffers.firmware().is_some() => (),
            result => result?,
        }
        let bound = self
            .adopt(allocated)
            .and_then(|()| self.fits(Kind::Firmware, self.buffers.firmware().ok_or(ENODATA)?));
        if let Err(err) = bound {
            if !self.options.source.is_handed() {
                self.buffers.release_unused();
            }
            return Err(err);
        }
        self.release_small();
        // The maximum may have been lowered since they were handed over.
        let count = self.options.suspend_count as usize;
        self.buffers.suspend.truncate(count);
        self.phase = Phase::Bound;
        Ok(())
    }

    /// Commits to no protected memory. `EBUSY` after or during a commit, `EAGAIN` while the binding
    /// is parked.
    pub(crate) fn reject(&mut self, driver: Driver) -> Result {
        self.options_mut()?;
        self.buffers.release_unused();
        self.phase = Phase::None(self.reason(driver));
        Ok(())
    }

    /// Commits to binding on demand. Releases all buffers except a firmware buffer that the driver
    /// holds.
    ///
    /// `EBUSY` after a commit to `None`, during a commit, or while a group has a suspend buffer;
    /// `EAGAIN` while the binding is parked.
    pub(crate) fn bind_on_demand(&mut self) -> Result {
        if self.is_parked {
            return Err(EAGAIN);
        }
        let in_use = self.buffers.suspend.in_use() > 0;
        if matches!(self.phase, Phase::None(_)) || self.is_preparing || in_use {
            return Err(EBUSY);
        }
        self.buffers.release_unused();
        self.phase = Phase::OnDemand { is_demanded: false };
        self.is_on_demand = true;
        self.is_notified = false;
        Ok(())
    }

    /// Returns whether the GPU is to be bound on demand, and is not bound.
    pub(crate) fn awaits_demand(&self) -> bool {
        !self.is_withdrawn && matches!(self.phase, Phase::OnDemand { .. })
    }

    /// Sets whether the driver waits for the GPU to be bound, if [`Binding::awaits_demand`].
    pub(crate) fn set_demanded(&mut self, demanded: bool) {
        if let Phase::OnDemand { is_demanded } = &mut self.phase {
            *is_demanded = demanded && !self.is_withdrawn;
        }
    }

    /// Returns whether user space has to bind the GPU now.
    pub(crate) fn is_demanded(&self) -> bool {
        !self.is_withdrawn && matches!(self.phase, Phase::OnDemand { is_demanded: true })
    }

    /// Returns whether user space binds on demand, bound at the moment or not.
    pub(crate) fn is_on_demand(&self) -> bool {
        self.is_on_demand
    }

    /// Returns whether a driver can take buffers.
    pub(crate) fn is_bound(&self) -> bool {
        !self.is_withdrawn && !self.is_parked && matches!(self.phase, Phase::Bound)
    }

    /// Withdraws the binding. Buffers that the driver holds stay until it releases them.
    pub(crate) fn withdraw(&mut self) {
        self.is_withdrawn = true;
        self.buffers.release_unused();
    }

    /// Returns whether user space has withdrawn the binding.
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.is_withdrawn
    }

    /// Returns whether the binding was withdrawn and has no buffer left.
    pub(crate) fn is_over(&self) -> bool {
        self.is_withdrawn && self.buffers.count() == 0
    }
}

/// The driver's use of buffers.
impl<O> Binding<O> {
    /// Returns the buffers.
    pub(crate) fn buffers(&self) -> &Buffers<O> {
        &self.buffers
    }

    /// Returns the suspend buffers.
    pub(crate) fn suspend(&self) -> &Pool<O> {
        &self.buffers.suspend
    }

    /// Returns whether the driver holds buffers.
    pub(crate) fn is_in_use(&self) -> bool {
        self.buffers.in_use() > 0
    }

    /// Returns the firmware's buffer for the driver: the same one each time. A driver that holds it
    /// already gets it after the binding was withdrawn as well.
    ///
    /// `ENOENT` if the GPU is not bound; `EMSGSIZE` if the buffer is smaller than `bytes`.
    pub(crate) fn take_firmware(&mut self, bytes: usize) -> Result<DmaBuf> {
        if !self.is_bound() && !self.buffers.firmware_in_use() {
            return Err(ENOENT);
        }
        self.buffers.take_firmware(bytes)
    }

    /// Records that the driver no longer uses the firmware's buffer.
    pub(crate) fn put_firmware(&mut self) {
        let keep = !self.is_withdrawn && !self.is_parked && !self.awaits_demand();
        self.buffers.put_firmware(keep);
    }

    /// Sets the size of a suspend buffer to that of the driver. Larger ones remain.
    pub(crate) fn configure_suspend(&mut self, bytes: usize) {
        self.suspend_bytes = bytes;
        self.release_small();
    }

    /// Returns the minimum size of a suspend buffer.
    pub(crate) fn suspend_bytes(&self) -> usize {
        self.suspend_bytes
    }

    fn release_small(&mut self) {
        let wanted = self.suspend_bytes;
        self.buffers
            .suspend
            .retain(|buffer| buffer.size() >= wanted);
    }

    /// Returns a free suspend buffer for a client of the driver that holds `held` of them. The
    /// binding still owns it.
    ///
    /// `EDQUOT` if the client holds `limit`, or if that is 0, half of the buffers that there are,
    /// at least 1; `ENOBUFS` if none is free.
    pub(crate) fn take_suspend(&mut self, held: u32, limit: u32) -> Result<NonNull<Suspend<O>>> {
        let limit = match limit {
            0 => (self.suspend().len() / 2).max(1),
            limit => limit as usize,
        };
        if held as usize >= limit {
            return Err(EDQUOT);
        }
        self.buffers.suspend.take().ok_or(ENOBUFS)
    }

    /// Takes a suspend buffer back from the driver. Returns whether it is free now, and not released.
    pub(crate) fn put_suspend(&mut self, suspend: NonNull<Suspend<O>>) -> bool {
        let keep = !self.is_withdrawn && !self.is_parked;
        let wanted = self.suspend_bytes;
        self.buffers
            .suspend
            .put(suspend, |buffer| keep && buffer.size() >= wanted)
    }

    /// Notes that the driver has detached. It may still hold suspend buffers.
    pub(crate) fn detach(&mut self) {
        self.is_notified = false;
        self.put_firmware();
    }
}

/// Debugging.
impl<O> Binding<O> {
    /// Writes the binding's part of the text of debugfs.
    pub(crate) fn show(&self, driver: Driver, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        out.write_fmt(fmt!("heap {}\n", BStr::from_bytes(&options.heap)))?;
        writeln!(out, "source {}", options.source.name())?;
        writeln!(out, "state {}", self.state().name())?;
        writeln!(out, "reason {}", self.reason(driver).name())?;
        writeln!(out, "withdrawn {}", u8::from(self.is_withdrawn))?;
        writeln!(out, "buffers {}", self.buffers.count())?;
        writeln!(out, "bytes {}", self.buffers.bytes())?;
        writeln!(out, "in-use {}", self.buffers.in_use())?;
        writeln!(out, "suspend-free {}", self.suspend().free())?;
        writeln!(out, "suspend-in-use {}", self.suspend().in_use())?;
        writeln!(out, "suspend-peak {}", self.suspend().peak())?;
        writeln!(out, "suspend-waits {}", self.statistics.waits)?;
        writeln!(out, "suspend-exhausted {}", self.statistics.exhausted)?;
        writeln!(out, "suspend-over-limit {}", self.statistics.over_limit)?;
        for (reason, count) in self.statistics.refusals() {
            writeln!(out, "refused-{reason} {count}")?;
        }
        Ok(())
    }
}
