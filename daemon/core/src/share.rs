// SPDX-License-Identifier: MIT OR Apache-2.0

//! Finds a heap that all devices of a media pipeline can use, according to the policy's `share`
//! tables.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use protheap_policy::name::{DeviceName, HeapName};
use protheap_policy::policy::Policy;
use protheap_policy::schema::{Share, is_usage};

use crate::facts::Facts;

/// Number of a character device. A program can read it from an open device node with `fstat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number {
    /// Major number, which identifies the kind of device.
    pub major: u32,
    /// Minor number, which identifies the device among those of its kind.
    pub minor: u32,
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// The hardware behind a device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Name on its bus.
    pub name: DeviceName,
    /// `compatible` of its device tree node, most specific first.
    pub compatible: Vec<String>,
}

impl Device {
    /// Returns the table of the device with its name: the one for the device name, or else for the
    /// most specific compatible string.
    fn share<'p>(&self, tables: &'p BTreeMap<String, Share>) -> Option<(&'p str, &'p Share)> {
        table_of(&self.name, &self.compatible, tables)
    }
}

/// Returns the table of a device, with its name: the one for the device name, or else for the most
/// specific compatible string.
pub(crate) fn table_of<'p>(
    name: &DeviceName,
    compatible: &[String],
    tables: &'p BTreeMap<String, Share>,
) -> Option<(&'p str, &'p Share)> {
    std::iter::once(name.as_str())
        .chain(compatible.iter().map(String::as_str))
        .find_map(|key| tables.get_key_value(key))
        .map(|(key, share)| (key.as_str(), share))
}

/// A request for a heap that several devices share.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Purpose of the memory, such as `secure-video`.
    pub usage: &'a str,
    /// The devices, or the reason why one could not be identified. A GPU needs a table as any other
    /// device does: the heap that it is bound to does not say what it can read.
    pub devices: &'a BTreeMap<Number, Result<Device, String>>,
    /// The present heaps.
    pub heaps: &'a BTreeSet<HeapName>,
    /// Whether to ignore devices for which no policy has a table.
    pub allow_unknown: bool,
}

/// A heap that all devices can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Name of the heap.
    pub heap: HeapName,
    /// Rank of the heap in the list of the device that prefers it least, from 0.
    pub worst_rank: usize,
    /// Devices that were ignored because no policy has a table for them.
    pub unknown: Vec<Number>,
}

/// Reason why no heap was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// The usage is not a valid name.
    #[error("{0:?} is not a usage; give a lower-case word such as `secure-video`")]
    Usage(String),
    /// The request contains no device.
    #[error("no device is given; give the nodes of the devices that will use the memory")]
    NoDevice,
    /// No policy has a table for these devices.
    #[error("no policy describes {}", joined(.0, "; "))]
    UnknownDevice(Vec<Refusal>),
    /// No heap suits all devices. Has a reason for each device that a policy names.
    #[error("no present heap suits all devices for `{usage}`: {}", joined(devices, "; "))]
    NoCommonHeap {
        /// The usage.
        usage: String,
        /// Each device, with the reason why it prevents the heap.
        devices: Vec<Refusal>,
    },
}

/// Reason why a device prevents a common heap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its number.
    pub number: Number,
    /// Name of the device, if it was identified.
    pub name: Option<DeviceName>,
    /// The reason.
    pub why: Why,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{} ({name}): {}", self.number, self.why),
            None => write!(f, "{}: {}", self.number, self.why),
        }
    }
}

/// Reason why a device prevents a common heap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The device could not be identified. The text is the reason.
    #[error("{0}")]
    NotIdentified(String),
    /// No policy has a table for the device. The text is the key to use.
    #[error("add [share.{0:?}] to a policy of this board")]
    NoTable(String),
    /// The device's table lists no heap for the usage.
    #[error("[share.{0:?}] names no heap for this usage")]
    NoHeap(String),
    /// None of the listed heaps is present.
    #[error("none of its heaps is present: {}", joined(.0, ", "))]
    Absent(Vec<HeapName>),
    /// These heaps are listed and present, but another device can use none of them.
    #[error("it can use {}", joined(.0, ", "))]
    NotCommon(Vec<HeapName>),
}

fn joined<T: fmt::Display>(all: &[T], separator: &str) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join(separator)
}

/// Finds the heap that all devices can use. Among the present heaps that every device lists, this
/// is the one with the smallest worst rank, then the smallest sum of ranks, then the first by name.
/// A rank is a position in a list, from 0. Devices with the same table count once, so that several
/// nodes of one device, or several devices of one kind, have no more weight than one.
///
/// # Errors
///
/// Returns an error if there is no such heap, or if the request names no usage or no known device.
pub fn find(policy: &Policy, question: Question<'_>) -> Result<Answer, ShareError> {
    let Question { usage, devices, heaps, allow_unknown } = question;
    if !is_usage(usage) {
        return Err(ShareError::Usage(usage.to_owned()));
    }
    if devices.is_empty() {
        return Err(ShareError::NoDevice);
    }
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for (number, device) in devices {
        match look_up(policy, device) {
            Ok((name, table, share)) => {
                let list = share.get(usage).map_or(&[][..], |list| &list.value);
                known.push((*number, name, table, list));
            }
            Err((name, why)) => unknown.push(Refusal { number: *number, name, why }),
        }
    }
    // Even with `allow_unknown`, at least one device must be known.
    if known.is_empty() || !(allow_unknown || unknown.is_empty()) {
        return Err(ShareError::UnknownDevice(unknown));
    }
    let lists: BTreeMap<_, _> = known.iter().map(|(_, _, table, list)| (table, *list)).collect();
    let lists: Vec<_> = lists.into_values().collect();
    if let Some((heap, worst_rank)) = common_heap(&lists, heaps) {
        let unknown = unknown.iter().map(|refusal| refusal.number).collect();
        return Ok(Answer { heap: heap.clone(), worst_rank, unknown });
    }
    let devices = known.into_iter().map(|(number, name, table, list)| {
        let present: Vec<_> = list.iter().filter(|heap| heaps.contains(heap)).cloned().collect();
        let why = if list.is_empty() {
            Why::NoHeap(table.to_owned())
        } else if present.is_empty() {
            Why::Absent(list.to_vec())
        } else {
            Why::NotCommon(present)
        };
        Refusal { number, name: Some(name.clone()), why }
    });
    Err(ShareError::NoCommonHeap { usage: usage.to_owned(), devices: devices.collect() })
}

/// Name of a device, name of its table, and the table.
type Known<'a> = (&'a DeviceName, &'a str, &'a Share);

fn look_up<'a>(
    policy: &'a Policy,
    device: &'a Result<Device, String>,
) -> Result<Known<'a>, (Option<DeviceName>, Why)> {
    let device = match device {
        Ok(device) => device,
        Err(why) => return Err((None, Why::NotIdentified(why.clone()))),
    };
    match device.share(&policy.content().share) {
        Some((table, share)) => Ok((&device.name, table, share)),
        None => {
            let key = device.compatible.first().map_or(device.name.as_str(), String::as_str);
            Err((Some(device.name.clone()), Why::NoTable(key.to_owned())))
        }
    }
}

/// Returns the heap that every device of the board's media pipeline can use, by usage. This is the
/// result of [`find`] for one device of each table that has the usage. Usages without such a heap
/// are omitted, and those that only tables of GPUs have: what a GPU can use does not show what the
/// other devices of the pipeline can.
pub fn common_heaps(policy: &Policy, facts: &Facts) -> BTreeMap<String, HeapName> {
    let shares = &policy.content().share;
    let gpus = gpu_keys(policy, facts);
    let others = shares.iter().filter(|(key, _)| !gpus.contains(key.as_str()));
    let mut answers = BTreeMap::new();
    for usage in others.flat_map(|(_, share)| share.keys()) {
        let lists = shares.values().filter_map(|share| share.get(usage));
        let lists: Vec<_> = lists.map(|list| list.value.as_slice()).collect();
        if let Some((heap, _)) = common_heap(&lists, &facts.heaps) {
            answers.insert(usage.clone(), heap.clone());
        }
    }
    answers
}

/// Returns the keys that stand for GPUs: those of the policy's GPU tables, and the names and
/// compatible strings of the machine's GPUs.
fn gpu_keys<'a>(policy: &'a Policy, facts: &'a Facts) -> BTreeSet<&'a str> {
    policy.gpu_tables().map(|(key, _)| key).chain(facts.gpu_names()).collect()
}

/// Returns the best of `heaps` that is in all `lists` by the order of [`find`], and its worst rank.
fn common_heap<'h>(
    lists: &[&[HeapName]],
    heaps: &'h BTreeSet<HeapName>,
) -> Option<(&'h HeapName, usize)> {
    let ranked = |heap: &'h HeapName| {
        let ranks = lists.iter().map(|list| list.iter().position(|one| one == heap));
        let ranks = ranks.collect::<Option<Vec<_>>>()?;
        Some((ranks.iter().copied().max()?, ranks.iter().sum::<usize>(), heap))
    };
    let (worst, _, heap) = heaps.iter().filter_map(ranked).min()?;
    Some((heap, worst))
}
