// SPDX-License-Identifier: MIT OR Apache-2.0

//! The executor of the daemon: requests of clients, and changed policy files.

use protheap_board::kernel;
use protheap_core::engine::{Change, Event, Keeper, Machine as _, NoDemand, NoRebind};
use protheap_core::notes::{Note, What, notes};
use protheap_core::state_file::Refused;
use protheap_policy::name::DeviceName;

use super::{Executor, ioctl, now};
use crate::kernel::Kernel;
use crate::log::Message;
use crate::state_file;
use crate::survey::{read_firmware, read_policy};

impl<K: Kernel> Executor<Keeper, K> {
    /// Restores what an earlier program of this boot saved: the timelines, and the heaps of the
    /// buffers that were set by ioctl. Without it, the timelines are shorter, and such a buffer is
    /// taken back and replaced.
    pub fn restore(&mut self) {
        if let Some(file) = state_file::read(&self.root, &mut Vec::new()) {
            self.lent = ioctl::restored(&file);
            self.engine.restore(&file, now());
        }
    }

    /// Logs the providers and modules of local policies that this machine lacks. The image's
    /// policies list alternatives for many firmwares.
    pub fn log_notes(&self) {
        for note in notes(self.engine.policy(), self.engine.facts()) {
            if note.local && note.what != What::NotShared {
                let Note { origin, message, next, .. } = note;
                self.log.write(&Message::Other(format_args!("{origin}: {message}; {next}")));
            }
        }
    }

    /// Returns the engine with the current facts and bindings.
    pub fn engine(&self) -> &Keeper {
        &self.engine
    }

    /// Returns the rejected policy files and attributes.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Reloads all policies at once. The last valid content of a file stays in effect if the file
    /// has become unusable. Returns whether the policy or the set of rejected files changed.
    pub fn reload(&mut self) -> bool {
        let mut problems = Vec::new();
        let lockdown = kernel::read(&self.root, &mut problems).lockdown;
        let platform = &self.engine.facts().platform;
        let (policy, refused) =
            read_policy(&self.root, self.log, platform, lockdown, Some(&mut self.last_good));
        let changed = policy != *self.engine.policy();
        let different = changed || self.refused.get(..self.files) != Some(&refused);
        let files = std::mem::replace(&mut self.files, refused.len());
        self.refused.splice(..files, refused);
        if changed {
            let mut facts = self.facts(&policy, &mut problems);
            read_firmware(&self.root, &policy, true, &mut facts, &mut problems);
            let changes = vec![Change::All(Box::new(facts)), Change::Policy(Box::new(policy))];
            self.process((now(), Event::Changed(changes)));
        }
        for problem in problems {
            self.refuse(problem);
        }
        if changed {
            self.log_notes();
        }
        // Forces a write, because `/run/protheap` may have been removed.
        self.written.clear();
        self.finish();
        different
    }

    /// Repeats selection for a GPU, and allocates from every heap again.
    ///
    /// # Errors
    ///
    /// Returns the reason why selection cannot be repeated.
    pub fn rebind(&mut self, device: &DeviceName) -> Result<(), NoRebind> {
        // A driver may have been bound or unbound, with the event still queued.
        let mut changes = Vec::new();
        self.drivers(&mut changes);
        changes.push(Change::Binding(device.clone()));
        self.process((now(), Event::Changed(changes)));
        self.engine.may_rebind(device)?;
        self.process((now(), Event::Rebind(device.clone())));
        self.finish();
        Ok(())
    }

    /// Binds `device` as if a protected group were being created.
    ///
    /// # Errors
    ///
    /// Returns the reason why no heap is bound afterwards.
    pub fn demand(&mut self, device: &DeviceName) -> Result<(), NoDemand> {
        let demand = vec![Change::Demand(device.clone())];
        self.process((now(), Event::Changed(demand)));
        self.finish();
        self.engine.demanded(device)
    }
}
