// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which heap all devices of a media pipeline can use: the policy's `share` tables in, one heap or
//! the reasons against it out.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use protheap_policy::name::{DeviceName, HeapName};
use protheap_policy::policy::Policy;
use protheap_policy::schema::{Share, is_usage};

/// The number of a character device, by which a program that has opened its node knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number {
    /// Of its kind.
    pub major: u32,
    /// Of this one among its kind.
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
    /// Its name on its bus.
    pub name: DeviceName,
    /// Its node's `compatible`, most specific first.
    pub compatible: Vec<String>,
}

impl Device {
    /// The table that says what it can use, and that table's name: of its device name, else of its
    /// most specific compatible string that has one.
    fn share<'p>(&self, tables: &'p BTreeMap<String, Share>) -> Option<(&'p str, &'p Share)> {
        std::iter::once(self.name.as_str())
            .chain(self.compatible.iter().map(String::as_str))
            .find_map(|key| tables.get_key_value(key))
            .map(|(key, share)| (key.as_str(), share))
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What the memory is for, such as `secure-video`.
    pub usage: &'a str,
    /// The devices, or why nothing is known of one. A GPU stands for itself, as the others do: which
    /// heap it is bound to says nothing of what it can read.
    pub devices: &'a BTreeMap<Number, Result<Device, String>>,
    /// The heaps that are there.
    pub heaps: &'a BTreeSet<HeapName>,
    /// Devices that no policy knows are left out of account.
    pub allow_unknown: bool,
}

/// The heap that all devices can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its name.
    pub heap: HeapName,
    /// Its place in the list of the device that likes it least, from 0.
    pub worst_rank: usize,
    /// The devices that no policy knows: they were left out of account.
    pub unknown: Vec<Number>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// No usage can be called so.
    #[error("{0:?} is no usage: give a word such as `secure-video`, in lower case")]
    Usage(String),
    /// There is nothing that a heap could be for.
    #[error("no device is given: give the device nodes that will use the memory")]
    NoDevice,
    /// No policy says what these can use.
    #[error("no policy knows {}", joined(.0, "; "))]
    UnknownDevice(Vec<Refusal>),
    /// No heap suits all, with a reason for each device that a policy knows.
    #[error("no heap that is there suits all devices for `{usage}`: {}", joined(devices, "; "))]
    NoCommonHeap {
        /// The usage.
        usage: String,
        /// What each of them can use.
        devices: Vec<Refusal>,
    },
}

/// What a device had to do with it that there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its number.
    pub number: Number,
    /// Its name, where that is known.
    pub name: Option<DeviceName>,
    /// Why.
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

/// What a device had to do with it that there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Nothing is known of it.
    #[error("{0}")]
    NotIdentified(String),
    /// No policy has a table for it.
    #[error("a policy of this board has to say what it can use, in [share.{0:?}]")]
    NoTable(String),
    /// Its table names no heap for this usage.
    #[error("[share.{0:?}] names no heap for this usage")]
    NoHeap(String),
    /// None of the heaps in its list is there.
    #[error("none of its heaps is there: {}", joined(.0, ", "))]
    Absent(Vec<HeapName>),
    /// These are there, and another device can use none of them.
    #[error("it can use {}", joined(.0, ", "))]
    NotCommon(Vec<HeapName>),
}

fn joined<T: fmt::Display>(all: &[T], separator: &str) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join(separator)
}

/// Finds the heap that all devices can use: among those that are there and that each device lists,
/// the one with the smallest worst rank, then the smallest sum of ranks, then the first by name. A
/// rank is a place in a list, from 0. Devices that one table stands for have one list, so that
/// several nodes of one device, and several devices of one kind, have no more say than one.
///
/// # Errors
///
/// There is no such heap, or nothing to find one by.
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
    // Who passes over what is unknown still asks for something that is known.
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

/// The name of a device, the name of the table that stands for it, and that table.
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

/// Returns for each usage the heap that every device of the board's media pipeline can use, where
/// there is one: the answer of [`find`] for one device of each table that has the usage.
pub fn common_heaps(policy: &Policy, heaps: &BTreeSet<HeapName>) -> BTreeMap<String, HeapName> {
    let shares = &policy.content().share;
    let mut answers = BTreeMap::new();
    for usage in shares.values().flat_map(BTreeMap::keys) {
        let lists = shares.values().filter_map(|share| share.get(usage));
        let lists: Vec<_> = lists.map(|list| list.value.as_slice()).collect();
        if let Some((heap, _)) = common_heap(&lists, heaps) {
            answers.insert(usage.clone(), heap.clone());
        }
    }
    answers
}

/// The best of `heaps` that stands in all `lists`, as [`find`] says, and its worst rank.
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
