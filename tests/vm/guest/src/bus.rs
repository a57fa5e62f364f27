// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clients of protheapd: one that behaves well, and several that use everything that the bus permits.

mod hostile;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use protheap_client::{GpuProxy, HeapProxy, MANAGER_PATH, ManagerProxy, SERVICE};
use protheap_client::{gpu_path, heap_path};
use rustix::process::getuid;
use zbus::zvariant::Variant;
use zbus::{Connection, DBusError as _, Message};

use crate::{Outcome, buffer};

/// Socket of the system bus.
const BUS: &str = "/run/dbus/system_bus_socket";
/// A usage in the shipped policies; a longer one begins with it.
const USAGE: &str = "secure-video";
/// Maximum number of calls without a reply: the bus would refuse some of more calls, or of more bytes.
const AHEAD: u32 = 8;
/// Size of a buffer of `fill`.
const BYTES: u64 = 65536;

/// Runs `bus COMMAND ...`; see the usage.
pub(crate) fn run(words: &[&str]) -> Outcome {
    match words {
        ["reload"] => ask(async |bus| ManagerProxy::new(bus).await?.reload().await),
        ["rebind", device] => {
            ask(async |bus| GpuProxy::new(bus, gpu_path(device)).await?.rebind().await)
        }
        ["open", heap] => open(heap).map(drop),
        ["fill", heap, until] => fill(heap, until),
        ["find", count, bytes, devices] => {
            let question = question(bytes.parse()?, devices.parse()?)?;
            println!("{}", find(count.parse()?, &question)?);
            Ok(())
        }
        ["deaf", count, until] => deaf(count.parse()?, until),
        ["options", count] => say(hostile::options(count.parse()?)),
        ["methods", device, heap, bytes] => say(hostile::methods(device, heap, bytes.parse()?)),
        ["crowd", count, until] => hostile::crowd(count.parse()?, until),
        ["slowest", count] => say(hostile::slowest(count.parse()?)),
        _ => Err("bus: unknown command, or a missing argument".into()),
    }
}

fn say(outcome: Outcome<impl std::fmt::Display>) -> Outcome {
    println!("{}", outcome?);
    Ok(())
}

/// Makes a call; an error of the service becomes the last word of its name.
fn ask<T>(call: impl AsyncFnOnce(&Connection) -> protheap_client::Result<T>) -> Outcome<T> {
    zbus::block_on(async {
        let bus = Connection::system().await?;
        call(&bus).await.map_err(|error| {
            let name = error.name();
            let last = name.as_str().rsplit('.').next().unwrap_or_default();
            if error.is_access_denied() { "AccessDenied" } else { last }.to_owned().into()
        })
    })
}

/// Calls `Open` of a heap.
fn open(heap: &str) -> Outcome<OwnedFd> {
    let opened = ask(async |bus| HeapProxy::new(bus, heap_path(heap)).await?.open().await)?;
    Ok(opened.into())
}

/// Calls `Open` of a heap, allocates all of it, prints the number of buffers, and keeps them until `until` exists.
fn fill(heap: &str, until: &str) -> Outcome {
    let heap = open(heap)?;
    let buffers: Vec<_> = std::iter::from_fn(|| buffer::allocate_from(&heap, BYTES).ok()).collect();
    println!("{}", buffers.len());
    wait_for(until);
    Ok(())
}

fn wait_for(file: &str) {
    while !Path::new(file).exists() {
        sleep(Duration::from_millis(20));
    }
}

/// Returns a call of `FindHeap`, with a usage of that many bytes and that many devices.
fn question(bytes: usize, devices: u32) -> Outcome<Message> {
    let usage: String = USAGE.chars().chain(std::iter::repeat('x')).take(bytes).collect();
    let devices: Vec<_> = (0..devices).map(|minor| (226_u32, 128 + minor)).collect();
    let call = Message::method_call(MANAGER_PATH, "FindHeap")
        .destination(SERVICE)
        .interface("org.protheap1.Manager");
    Ok(call.build(&(usage, devices, BTreeMap::<&str, Variant<'_>>::new()))?)
}

/// Returns the same call with another serial number: the bus replies to each number once.
fn numbered(call: &Message, number: u32) -> Vec<u8> {
    let mut bytes = call.data().to_vec();
    // Word 2 of a message, see "Message Format" in the D-Bus Specification; `Hello` has the first number.
    if let Some(serial) = bytes.get_mut(8..12) {
        serial.copy_from_slice(&(number + 2).to_le_bytes());
    }
    bytes
}

/// Makes `count` calls, some of them before earlier replies, and returns the number of replies of each kind.
fn find(count: u32, question: &Message) -> Outcome<String> {
    let (mut stream, mut answers) = connect()?;
    let mut counts = BTreeMap::new();
    for asked in 0..count + AHEAD {
        if asked < count {
            stream.write_all(&numbered(question, asked))?;
        }
        if asked >= AHEAD {
            *counts.entry(answer(&mut answers)?).or_insert(0) += 1;
        }
    }
    let counts: Vec<_> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    Ok(counts.join(" "))
}

/// Makes `count` calls and never reads a reply. Prints the number of calls that the bus has accepted, and keeps the
/// connection until `until` exists.
fn deaf(count: u32, until: &str) -> Outcome {
    let question = question(USAGE.len(), 1)?;
    let (mut stream, _answers) = connect()?;
    let ask = |number: &u32| stream.write_all(&numbered(&question, *number)).is_ok();
    let asked = (0..count).take_while(ask).count();
    println!("{asked}");
    wait_for(until);
    Ok(())
}

/// Connects to the bus without a D-Bus library, so that every byte can be chosen.
fn connect() -> Outcome<(UnixStream, BufReader<UnixStream>)> {
    let mut stream = UnixStream::connect(BUS)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    // The bus compares this user with the one that the kernel reports.
    let user = getuid().as_raw().to_string();
    let user: String = user.bytes().map(|digit| format!("{digit:02x}")).collect();
    write!(stream, "\0AUTH EXTERNAL {user}\r\nBEGIN\r\n")?;
    let mut line = String::new();
    answers.read_line(&mut line)?;
    if !line.starts_with("OK ") {
        return Err(format!("the bus refused the client: `{}`", line.trim()).into());
    }
    let hello = Message::method_call("/org/freedesktop/DBus", "Hello")
        .destination("org.freedesktop.DBus")
        .interface("org.freedesktop.DBus")
        .serial(NonZeroU32::MIN)
        .build(&())?;
    stream.write_all(hello.data())?;
    answer(&mut answers)?;
    Ok((stream, answers))
}

/// Returns the kind of the next reply: `answer`, or the last word of the name of an error. A message begins as
/// specified in "Message Format" of the D-Bus Specification: its type in the second byte, the lengths of its body and
/// of the header fields in words 1 and 3, and these fields, up to a multiple of 8.
fn answer(stream: &mut impl Read) -> Outcome<String> {
    const RETURN: u8 = 2;
    const ERROR: u8 = 3;
    loop {
        let mut head = [0; 16];
        stream.read_exact(&mut head)?;
        let word = |at: usize| -> Outcome<usize> {
            let bytes = head.get(at..at + 4).unwrap_or_default();
            Ok(usize::try_from(u32::from_le_bytes(bytes.try_into()?))?)
        };
        let mut fields = vec![0; word(12)?.next_multiple_of(8)];
        stream.read_exact(&mut fields)?;
        let mut body = vec![0; word(4)?];
        stream.read_exact(&mut body)?;
        match head.get(1) {
            Some(&RETURN) => return Ok("answer".to_owned()),
            Some(&ERROR) => {
                let text = String::from_utf8_lossy(&fields);
                let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
                let last = words.find_map(|word| Some(word.rsplit_once(".Error.")?.1));
                return Ok(last.unwrap_or("an error without a name").to_owned());
            }
            _ => {}
        }
    }
}
