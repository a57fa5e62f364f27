// SPDX-License-Identifier: MIT OR Apache-2.0

//! The binding of one GPU in configfs.

use protheap_core::facts::{KernelBinding, Protection, Source};
use protheap_policy::name::HeapName;
use rustix::io::Errno;

use super::error::Error;
use crate::sysfs::{AttributeError, Directory};

/// Parameters of a binding.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// The heap that the buffers are allocated from.
    pub heap: &'a HeapName,
    /// Minimum size of the firmware buffer in bytes.
    pub firmware_bytes_wanted: u64,
    /// Size of each suspend buffer in bytes.
    pub suspend_bytes: u64,
    /// Maximum number of suspend buffers, free and in use; at most 128.
    pub suspend_count: u32,
    /// Whether the module accepts mappable buffers too.
    pub allow_unprotected: bool,
    /// The deciding policy, for people to read.
    pub origin: &'a str,
}

/// Result of starting a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The hold has started: the GPU's probe is deferred.
    Started,
    /// `protheap.hold=0` forbids holds.
    Forbidden,
    /// The device had its hold in this boot already.
    Spent,
    /// The device is bound to a driver already, or the binding is committed.
    TooLate,
}

/// The decision that ends the setup of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// The GPU driver may take the buffers.
    Bind,
    /// No heap is bound: the GPU probes without protected memory.
    None,
    /// The GPU probes without protected memory until its driver requests a suspend buffer.
    Demand,
}

impl Commit {
    fn as_str(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::None => "none",
            Self::Demand => "demand",
        }
    }
}

/// State of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingState {
    /// The binding is being set up, and the GPU is not held.
    Open,
    /// The binding is being set up, and the GPU's probe is deferred.
    Held,
    /// The binding is committed.
    Bound,
    /// The binding is committed, and the GPU driver uses some of the buffers.
    InUse,
    /// The binding is committed without a heap.
    None,
    /// Nothing is bound until the GPU driver requests a suspend buffer.
    OnDemand,
}

impl BindingState {
    /// Parses the word that the module shows. Returns `None` if it is unknown.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "open" => Self::Open,
            "held" => Self::Held,
            "bound" => Self::Bound,
            "in-use" => Self::InUse,
            "none" => Self::None,
            "on-demand" => Self::OnDemand,
            _ => return None,
        })
    }
}

/// The binding of one GPU.
#[derive(Debug)]
pub struct Binding {
    pub(super) directory: Directory,
    pub(super) adopted: bool,
}

impl Binding {
    /// Returns whether the binding existed before: another program created it.
    pub fn is_adopted(&self) -> bool {
        self.adopted
    }

    /// Sets the parameters of the binding, before the first buffer is handed over. The binding must
    /// be new or reset by [`Binding::renew`].
    ///
    /// # Errors
    ///
    /// EBUSY: the binding is committed. EPERM: `allow_unprotected` is set under kernel lockdown.
    pub fn set_up(&self, setup: &Setup<'_>) -> Result<(), Error> {
        self.set("heap", setup.heap.as_str())?;
        self.set("firmware_bytes_wanted", &setup.firmware_bytes_wanted.to_string())?;
        self.set("suspend_bytes_wanted", &setup.suspend_bytes.to_string())?;
        self.set("suspend_count", &setup.suspend_count.to_string())?;
        // A new binding has the value 0.
        if setup.allow_unprotected {
            self.set("allow_unprotected", "1")?;
        }
        self.set_origin(setup.origin)
    }

    /// Sets the text that names the deciding policy, or says why nothing is bound. Characters that
    /// the kernel does not print are replaced.
    ///
    /// # Errors
    ///
    /// EBUSY: the binding is committed.
    pub fn set_origin(&self, origin: &str) -> Result<(), Error> {
        self.set("origin", &printable(origin))
    }

    /// Resets an uncommitted binding of an earlier run to the state of a new one with the given
    /// source. Setting the heap releases the buffers that were handed over.
    ///
    /// # Errors
    ///
    /// EBUSY: the binding is committed.
    pub fn renew(&self, source: Source) -> Result<(), Error> {
        self.set("source", source.as_str())?;
        self.set("allow_unprotected", "0")?;
        match self.heap()? {
            heap if heap.is_empty() => Ok(()),
            heap => self.set("heap", &heap),
        }
    }

    /// Starts the hold, for at most `ms` milliseconds from now.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel's answer is none of those in [`Hold`].
    pub fn start_hold(&self, ms: u32) -> Result<Hold, Error> {
        match self.directory.write("hold_ms", &ms.to_string()) {
            Ok(()) => Ok(Hold::Started),
            Err(AttributeError::Refused { errno: Errno::PERM, .. }) => Ok(Hold::Forbidden),
            Err(AttributeError::Refused { errno: Errno::ALREADY, .. }) => Ok(Hold::Spent),
            Err(AttributeError::Refused { errno: Errno::BUSY, .. }) => Ok(Hold::TooLate),
            Err(e) => Err(e.into()),
        }
    }

    /// Ends the setup and the hold. If the kernel allocates, it does so now.
    ///
    /// # Errors
    ///
    /// ENODATA: no firmware buffer was handed over. EBUSY: the binding is already committed. If the
    /// kernel allocates, also the errors that [`Error::verdict`] interprets.
    pub fn commit(&self, commit: Commit) -> Result<(), Error> {
        self.set("commit", commit.as_str())
    }

    /// Reads the name of the heap; empty until one is set.
    ///
    /// # Errors
    ///
    /// Returns an error if the binding was withdrawn.
    pub fn heap(&self) -> Result<String, Error> {
        Ok(self.directory.read("heap")?)
    }

    /// Reads the state of the binding.
    ///
    /// # Errors
    ///
    /// Returns an error if the binding was withdrawn or has an unknown state.
    pub fn state(&self) -> Result<BindingState, Error> {
        let word = self.directory.read("state")?;
        BindingState::parse(&word).ok_or_else(|| self.unknown("state", &word))
    }

    /// Reads the contents of a committed binding. Returns `None` if nothing is bound.
    ///
    /// # Errors
    ///
    /// Returns an error if the binding was withdrawn or an attribute has an unknown value.
    pub fn bound(&self) -> Result<Option<KernelBinding>, Error> {
        let in_use = match self.state()? {
            BindingState::Bound => false,
            BindingState::InUse => true,
            BindingState::Open
            | BindingState::Held
            | BindingState::None
            | BindingState::OnDemand => return Ok(None),
        };
        let heap = self.heap()?;
        let source = self.directory.read("source")?;
        let allow_unprotected = self.directory.read("allow_unprotected")? != "0";
        let (protection, exporter) = self.judge(allow_unprotected)?;
        Ok(Some(KernelBinding {
            heap: HeapName::new(&heap).map_err(|_| self.unknown("heap", &heap))?,
            source: match source.as_str() {
                "handed" => Source::Handed,
                "kernel" => Source::Kernel,
                found => return Err(self.unknown("source", found)),
            },
            exporter,
            protection,
            in_use,
            firmware_bytes: self.number("firmware_bytes")?,
            suspend_bytes: self.number("suspend_bytes")?,
            suspend_count: self.number("suspend_count")?,
            suspend_buffers: self.suspend_buffers()?,
            suspend_in_use: self.number("suspend_in_use")?,
            suspend_wanted: self.number("suspend_wanted")?,
        }))
    }

    /// Reads the number of suspend buffers, free and in use.
    ///
    /// # Errors
    ///
    /// Returns an error if the binding was withdrawn.
    pub fn suspend_buffers(&self) -> Result<u32, Error> {
        let free: u32 = self.number("suspend_free")?;
        Ok(free.saturating_add(self.number("suspend_in_use")?))
    }

    /// Reads the size in bytes that a suspend buffer must have: that of the running firmware, or of
    /// [`Setup`] until the firmware has reported one.
    ///
    /// # Errors
    ///
    /// Returns an error if the binding was withdrawn.
    pub fn suspend_bytes(&self) -> Result<u64, Error> {
        self.number("suspend_bytes")
    }

    /// Returns the known protection of the buffers and the name of their exporter. The module
    /// accepts mappable buffers only if `allow_unprotected` is set.
    ///
    /// # Errors
    ///
    /// Returns an error if the binding was withdrawn.
    pub fn judge(&self, allow_unprotected: bool) -> Result<(Protection, String), Error> {
        let exporter = self.directory.read("exporter")?;
        let protection = match Protection::of_exporter(&exporter) {
            Protection::Unmappable if allow_unprotected => Protection::None,
            known => known,
        };
        Ok((protection, exporter))
    }

    /// Reads the reason for the binding's state: empty, `already-probed`, `no-consumer`,
    /// `heap-late`, or the word of a newer module.
    ///
    /// # Errors
    ///
    /// Returns an error if the binding was withdrawn.
    pub fn reason(&self) -> Result<String, Error> {
        Ok(self.directory.read("reason")?)
    }

    /// Reads the time left until the hold expires, in milliseconds.
    ///
    /// # Errors
    ///
    /// Returns an error if the binding was withdrawn or the attribute has an unknown value.
    pub fn hold_left(&self) -> Result<u32, Error> {
        self.number("hold_left_ms")
    }

    fn set(&self, attribute: &str, value: &str) -> Result<(), Error> {
        Ok(self.directory.write(attribute, value)?)
    }

    fn number<T: std::str::FromStr>(&self, attribute: &str) -> Result<T, Error> {
        let found = self.directory.read(attribute)?;
        found.parse().map_err(|_| self.unknown(attribute, &found))
    }

    fn unknown(&self, attribute: &str, found: &str) -> Error {
        Error::Unknown { path: self.directory.shown(attribute), found: found.to_owned() }
    }
}

/// Returns `text` in the form that the module accepts: at most 255 printable ASCII characters.
fn printable(text: &str) -> String {
    let ascii = text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' });
    ascii.take(255).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_replaces_characters_and_truncates() {
        assert_eq!(printable("acme,a9 \u{fc}\n"), "acme,a9 ??");
        assert_eq!(printable(&"x".repeat(300)).len(), 255);
    }
}
