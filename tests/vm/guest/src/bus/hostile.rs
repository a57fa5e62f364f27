// SPDX-License-Identifier: MIT OR Apache-2.0
//! Callers that send calls which are far too long, and one that measures how long its own take meanwhile.

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

/// Time between two calls of a caller. dbus-broker needs some 7 ms of an emulated processor for a call of 70 kB, so that
/// all callers together take a third of it.
const PAUSE: Duration = Duration::from_secs(4);

/// Methods of every interface, of which none can use what is sent: path, interface, method.
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

/// An option as a message has it: a name of one byte, and a byte.
const OPTION: [u8; 16] = [1, 0, 0, 0, b'k', 0, 1, b'y', 0, 1, 0, 0, 0, 0, 0, 0];
/// Zeros at its end, for the next one to begin at a multiple of 8: behind the last there are none.
const PADDING: usize = 6;

/// The bytes of a call of `FindHeap` with so many options. They are put behind a call without any: to serialize them
/// would take an emulated processor minutes.
fn with_options(count: usize) -> Outcome<Vec<u8>> {
    let none = BTreeMap::<&str, Variant<'_>>::new();
    let body = (USAGE, vec![(226_u32, 128_u32)], none);
    let call = call(MANAGER_PATH, "org.protheap1.Manager", "FindHeap", &body)?;
    let mut bytes = call.data().to_vec();
    let options = (count * OPTION.len()).saturating_sub(PADDING);
    // The length of the options is the last word of the body but for padding, and that of the body word 1.
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

/// Sends one call, and says which answer came.
fn send(message: &[u8]) -> Outcome<String> {
    let (mut stream, mut answers) = connect()?;
    stream.write_all(&with_number(message, 2))?;
    stream.write_all(message.get(HEAD..).unwrap_or_default())?;
    answer(&mut answers)
}

/// The beginning of a message, with another number.
fn with_number(message: &[u8], number: u32) -> Vec<u8> {
    let mut head = message.get(..HEAD).unwrap_or_default().to_vec();
    if let Some(serial) = head.get_mut(8..12) {
        serial.copy_from_slice(&number.to_le_bytes());
    }
    head
}

/// Sends one `FindHeap` with so many options.
pub(super) fn options(count: usize) -> Outcome<String> {
    send(&with_options(count)?)
}

/// Sends a call of each method with a text of so many bytes, and says how many answers of which kind came.
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

/// So many callers send calls, for as long as that file is not there. Says how many there are once each has sent
/// a call, and in the end how many calls were answered.
pub(super) fn crowd(count: usize, until: &str) -> Outcome {
    // A little more than the daemon reads.
    let text = "x".repeat(70_000);
    let data = |call: Message| call.data().to_vec();
    let calls = [
        with_options(4_400)?,
        // Not too long, and all of it has to be looked at.
        with_options(4_000)?,
        data(call(MANAGER_PATH, "org.protheap1.Manager", "Reload", &text)?),
        data(call(MANAGER_PATH, "org.freedesktop.DBus.Properties", "Get", &text)?),
        data(call(MANAGER_PATH, "org.freedesktop.DBus.Introspectable", "Introspect", &text)?),
    ];
    let calls = calls.map(Arc::<[u8]>::from);
    let (begun, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    // All are connected before one of them floods the bus, which then takes its time to let others in.
    let streams = (0..count).map(|_| connect()).collect::<Outcome<Vec<_>>>()?;
    let mut callers = Vec::new();
    for (number, (stream, call)) in streams.into_iter().zip(calls.iter().cycle()).enumerate() {
        let (call, until) = (Arc::clone(call), until.to_owned());
        let (begun, answered) = (Arc::clone(&begun), Arc::clone(&answered));
        // Every third never reads.
        let call = move || pester(stream, &call, number % 3 != 0, &until, &begun, &answered);
        callers.push(Builder::new().stack_size(65536).spawn(call)?);
    }
    while begun.load(Ordering::Relaxed) < count {
        if callers.iter().all(std::thread::JoinHandle::is_finished) {
            return Err("every caller has ended".into());
        }
        sleep(Duration::from_millis(20));
    }
    println!("{count}");
    wait_for(until);
    println!("{}", answered.load(Ordering::Relaxed));
    // Those that wait for the bus would wait on.
    std::process::exit(0);
}

/// Sends that call again and again, with pauses; reads the answer before each, or never one.
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

/// Asks so often for a property, each time when the answer before is there, and says how many milliseconds the slowest
/// took.
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
