// SPDX-License-Identifier: MIT OR Apache-2.0
//! Callers that send calls which are far too long, and one that measures the time of its own calls meanwhile.

use std::collections::BTreeMap;
use std::io::{BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

use protheap_client::{MANAGER_PATH, SERVICE, gpu_path, heap_path};
use zbus::export::serde::Serialize;
use zbus::zvariant::Variant;
use zbus::{DynamicType, Message};

use super::{USAGE, answer, connect, numbered, wait_for};
use crate::Outcome;

/// Bytes of a message up to the fields of its header.
const HEAD: usize = 16;

/// Time between two calls of a caller. dbus-broker needs some 7 ms of an emulated processor for a call of 70 kB, so
/// that all callers together take a third of it.
const PAUSE: Duration = Duration::from_secs(4);

/// Methods of every interface, as path, interface and method; none of them accepts the argument that is sent.
const METHODS: [(&str, &str, &str); 9] = [
    (MANAGER_PATH, "org.protheap1.Manager", "Reload"),
    (MANAGER_PATH, "org.protheap1.Manager", "Explain"),
    (MANAGER_PATH, "org.protheap1.Manager", "NoSuchMethod"),
    (MANAGER_PATH, "org.freedesktop.DBus.Properties", "Get"),
    (MANAGER_PATH, "org.freedesktop.DBus.Properties", "Set"),
    (MANAGER_PATH, "org.freedesktop.DBus.Introspectable", "Introspect"),
    (MANAGER_PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"),
    (MANAGER_PATH, "org.freedesktop.DBus.Peer", "Ping"),
    ("/org/protheap1/nowhere", "org.protheap1.Manager", "FindHeap"),
];

/// Encoding of an option with a name of one byte and a value of one byte.
const OPTION: [u8; 16] = [1, 0, 0, 0, b'k', 0, 1, b'y', 0, 1, 0, 0, 0, 0, 0, 0];
/// Zeroes at its end, so that the next one begins at a multiple of 8; the last option has none.
const PADDING: usize = 6;

/// Returns the bytes of a call of `FindHeap` with that many options. They are appended to a call without options,
/// because serializing them would take minutes on an emulated processor.
fn with_options(count: usize) -> Outcome<Vec<u8>> {
    let none = BTreeMap::<&str, Variant<'_>>::new();
    let body = (USAGE, vec![(226_u32, 128_u32)], none);
    let call = call(MANAGER_PATH, "org.protheap1.Manager", "FindHeap", &body)?;
    let mut bytes = call.data().to_vec();
    let options = (count * OPTION.len()).saturating_sub(PADDING);
    // The last word of the body before padding is the length of the options, word 1 that of the body.
    let end = bytes.len();
    for (place, length) in [(end - 8, options), (4, call.body().len() + options)] {
        let word = bytes.get_mut(place..place + 4).ok_or("too short")?;
        word.copy_from_slice(&u32::try_from(length)?.to_le_bytes());
    }
    bytes.extend(OPTION.repeat(count).into_iter().take(options));
    Ok(bytes)
}

fn call(
    path: &str,
    interface: &str,
    method: &str,
    body: &(impl Serialize + DynamicType),
) -> Outcome<Message> {
    Ok(Message::method_call(path, method).destination(SERVICE).interface(interface).build(body)?)
}

/// Sends one call, and returns the kind of reply.
fn send(message: &[u8]) -> Outcome<String> {
    let (mut stream, mut answers) = connect()?;
    stream.write_all(&with_number(message, 2))?;
    stream.write_all(message.get(HEAD..).unwrap_or_default())?;
    answer(&mut answers)
}

/// Returns the beginning of a message, with another serial number.
fn with_number(message: &[u8], number: u32) -> Vec<u8> {
    let mut head = message.get(..HEAD).unwrap_or_default().to_vec();
    if let Some(serial) = head.get_mut(8..12) {
        serial.copy_from_slice(&number.to_le_bytes());
    }
    head
}

/// Sends one `FindHeap` with that many options, and returns the kind of reply.
pub(super) fn options(count: usize) -> Outcome<String> {
    send(&with_options(count)?)
}

/// Sends a call of each method with a text of that many bytes, and returns the number of replies of each kind.
pub(super) fn methods(device: &str, heap: &str, bytes: usize) -> Outcome<String> {
    let text = "x".repeat(bytes);
    let (gpu, heap) = (gpu_path(device), heap_path(heap));
    let more = [
        (gpu.as_str(), "org.protheap1.Gpu", "Rebind"),
        (heap.as_str(), "org.protheap1.Heap", "Open"),
    ];
    let mut counts = BTreeMap::new();
    for (path, interface, method) in METHODS.into_iter().chain(more) {
        *counts.entry(send(call(path, interface, method, &text)?.data())?).or_insert(0) += 1;
    }
    let counts: Vec<_> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    Ok(counts.join(" "))
}

/// Starts `count` callers that send calls until the file `until` exists. Prints their number when each has sent a call,
/// and the number of replies at the end.
pub(super) fn crowd(count: usize, until: &str) -> Outcome {
    // Slightly more than the limit of the daemon.
    let text = "x".repeat(70_000);
    let data = |call: Message| call.data().to_vec();
    let calls = [
        with_options(4_400)?,
        // Slightly less than the limit, so that the daemon has to read all of it.
        with_options(4_000)?,
        data(call(MANAGER_PATH, "org.protheap1.Manager", "Reload", &text)?),
        data(call(MANAGER_PATH, "org.freedesktop.DBus.Properties", "Get", &text)?),
        data(call(MANAGER_PATH, "org.freedesktop.DBus.Introspectable", "Introspect", &text)?),
    ];
    let calls = calls.map(Arc::<[u8]>::from);
    let (begun, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    // All callers connect before one of them floods the bus, which then accepts connections slowly.
    let streams = (0..count).map(|_| connect()).collect::<Outcome<Vec<_>>>()?;
    let mut callers = Vec::new();
    for (number, (stream, call)) in streams.into_iter().zip(calls.iter().cycle()).enumerate() {
        let (call, until) = (Arc::clone(call), until.to_owned());
        let (begun, answered) = (Arc::clone(&begun), Arc::clone(&answered));
        // Every third caller never reads a reply.
        let call = move || pester(stream, &call, number % 3 != 0, &until, &begun, &answered);
        callers.push(Builder::new().stack_size(65536).spawn(call)?);
    }
    while begun.load(Ordering::Relaxed) < count {
        if callers.iter().all(std::thread::JoinHandle::is_finished) {
            return Err("all callers have ended".into());
        }
        sleep(Duration::from_millis(20));
    }
    println!("{count}");
    wait_for(until);
    println!("{}", answered.load(Ordering::Relaxed));
    // Callers that wait for the bus would not end.
    std::process::exit(0);
}

/// Sends the same call repeatedly, with pauses, and reads each reply, or none.
fn pester(
    (mut stream, mut answers): (UnixStream, BufReader<UnixStream>),
    call: &[u8],
    reads: bool,
    until: &str,
    begun: &AtomicUsize,
    answered: &AtomicUsize,
) {
    for number in 2_u32.. {
        let rest = call.get(HEAD..).unwrap_or_default();
        let sent = stream.write_all(&with_number(call, number));
        let sent = sent.and_then(|()| stream.write_all(rest));
        if number == 2 {
            begun.fetch_add(1, Ordering::Relaxed);
        }
        if sent.is_err() || Path::new(until).exists() {
            return;
        }
        if reads {
            if answer(&mut answers).is_err() {
                return;
            }
            answered.fetch_add(1, Ordering::Relaxed);
        }
        sleep(PAUSE);
    }
}

/// Reads a property `count` times, one call after the other, and returns the time of the slowest in milliseconds.
pub(super) fn slowest(count: u32) -> Outcome<u128> {
    let question = call(
        MANAGER_PATH,
        "org.freedesktop.DBus.Properties",
        "Get",
        &("org.protheap1.Manager", "Delivery"),
    )?;
    let (mut stream, mut answers) = connect()?;
    let mut slowest = Duration::ZERO;
    for number in 0..count {
        let asked = Instant::now();
        stream.write_all(&numbered(&question, number))?;
        let kind = answer(&mut answers)?;
        if kind != "answer" {
            return Err(kind.into());
        }
        slowest = slowest.max(asked.elapsed());
        sleep(Duration::from_millis(50));
    }
    Ok(slowest.as_millis())
}
