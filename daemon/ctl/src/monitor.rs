// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl monitor`: prints the state of each GPU whenever it changes.

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::pin::Pin;

use anyhow::{Result, bail};
use protheap_board::clock;
use protheap_client::{Error, MANAGER_PATH, SERVICE};
use serde::Serialize;
use zbus::export::futures_core::Stream as _;
use zbus::fdo::{DBusProxy, NameOwnerChanged, PropertiesChanged};
use zbus::message::{Sequence, Type};
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedVariant, Variant};

use crate::bus;
use crate::bus::DAEMON;
use crate::output::{Sanitized, joined, json};

/// Version of the `--json` output.
const SCHEMA: u32 = 1;
/// Maximum number of messages to queue while a line is printed.
const QUEUE: usize = 1024;

/// How to print it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints the current state of each GPU, then every change until it is interrupted.
docs/protheapctl.md describes the JSON, which has one object per line.

Exit status: 0 if the reader of a pipe exits, 1 on failure, 2 on a usage error, 3 if protheapd is
not running.")]
pub(crate) struct Args {
    /// Print JSON objects
    #[arg(long)]
    json: bool,
}

/// One line of output.
#[derive(Debug, Serialize)]
struct Line<'a> {
    schema: u32,
    /// Microseconds since boot.
    at_us: u64,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum What<'a> {
    Gpu {
        device: &'a str,
        #[serde(flatten)]
        gpu: &'a Gpu,
    },
    /// `gone` or `back`.
    Service { service: &'static str },
}

/// State of a GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Gpu {
    state: String,
    reason: String,
    heap: Option<String>,
    driver: Option<String>,
}

/// Prints until an error occurs. `print` returns whether the reader is still there.
pub(crate) fn run(args: &Args, print: fn(&str) -> Result<bool>) -> Result<()> {
    bus::ask(async |connection| {
        let mut monitor =
            Monitor { json: args.json, print, known: BTreeMap::new(), owner: None, listed: None };
        monitor.watch(&connection).await
    })
}

struct Monitor {
    json: bool,
    print: fn(&str) -> Result<bool>,
    /// Device name and state, by object path.
    known: BTreeMap<String, (String, Gpu)>,
    /// Unique name of the service. Signals of other senders are ignored.
    owner: Option<String>,
    /// Position of the last reply with all GPUs. Earlier signals are outdated.
    listed: Option<Sequence>,
}

impl Monitor {
    async fn watch(&mut self, connection: &Connection) -> Result<()> {
        // One stream keeps the order of the messages, and starts before the first request.
        let mut messages = MessageStream::from(connection);
        messages.set_max_queued(NonZeroUsize::new(QUEUE).unwrap_or(NonZeroUsize::MIN));
        let bus = DBusProxy::new(connection).await.map_err(Error::from)?;
        for rule in rules().map_err(Error::from)? {
            bus.add_match_rule(rule).await.map_err(zbus::Error::from).map_err(Error::from)?;
        }
        let mut reads = self.list(connection).await?;
        let owner = bus.get_name_owner(SERVICE.try_into().map_err(Error::from)?).await;
        self.owner = owner.ok().map(|owner| owner.to_string());
        while reads {
            let message = poll_fn(|context| Pin::new(&mut messages).poll_next(context)).await;
            let Some(message) = message else { bail!("lost the connection to the system bus") };
            reads = self.take(connection, message.map_err(Error::from)?).await?;
        }
        Ok(())
    }

    /// Processes a message. Returns false if the reader has exited.
    async fn take(&mut self, connection: &Connection, message: Message) -> Result<bool> {
        let header = message.header();
        if header.message_type() != Type::Signal {
            return Ok(true);
        }
        let sender = header.sender().map(ToString::to_string);
        if sender.as_deref() == Some("org.freedesktop.DBus") {
            let Some(changed) = NameOwnerChanged::from_message(message) else { return Ok(true) };
            let changed = changed.args().map_err(Error::from)?;
            if changed.name().as_str() != SERVICE {
                return Ok(true);
            }
            let (had, owner) = (self.owner.take(), changed.new_owner().as_ref());
            self.owner = owner.map(ToString::to_string);
            return match (had, &self.owner) {
                (Some(_), None) => {
                    self.known.clear();
                    self.report(What::Service { service: "gone" })
                }
                (None, Some(_)) => Ok(self.report(What::Service { service: "back" })?
                    && self.list(connection).await?),
                _ => self.list(connection).await,
            };
        }
        let is_old = self.listed.is_some_and(|listed| message.recv_position() < listed);
        if is_old || sender.is_none() || sender != self.owner {
            return Ok(true);
        }
        let path = header.path().map(ToString::to_string).unwrap_or_default();
        let Some(changed) = PropertiesChanged::from_message(message) else {
            // An object was added or removed.
            return self.list(connection).await;
        };
        let changed = changed.args().map_err(Error::from)?;
        if changed.interface_name().as_str() != bus::GPU {
            return Ok(true);
        }
        let Some((device, gpu)) = self.known.get_mut(&path) else {
            return self.list(connection).await;
        };
        let before = gpu.clone();
        for (name, value) in changed.changed_properties() {
            gpu.set(name, text(value));
        }
        if *gpu == before {
            return Ok(true);
        }
        let (device, gpu) = (device.clone(), gpu.clone());
        self.report(What::Gpu { device: &device, gpu: &gpu })
    }

    /// Requests all GPUs, and prints those whose state has changed.
    async fn list(&mut self, connection: &Connection) -> Result<bool> {
        let mut found = BTreeMap::new();
        let (objects, at) = match bus::objects(connection).await {
            // A signal reports next that the service has stopped.
            Err(error) if self.listed.is_some() && bus::is_absence(&error) => return Ok(true),
            listed => listed?,
        };
        self.listed = Some(at);
        for (path, interfaces) in objects {
            let of_gpu = interfaces.into_iter().find(|(name, _)| name.as_str() == bus::GPU);
            if let Some((_, properties)) = of_gpu {
                found.insert(path.to_string(), Gpu::of(&properties));
            }
        }
        let before = std::mem::replace(&mut self.known, found.clone());
        for (path, (device, gpu)) in &found {
            if before.get(path) != Some(&(device.clone(), gpu.clone()))
                && !self.report(What::Gpu { device, gpu })?
            {
                return Ok(false);
            }
        }
        for (_, (device, _)) in before.iter().filter(|(path, _)| !found.contains_key(*path)) {
            let gpu = Gpu { state: "absent".to_owned(), ..Gpu::default() };
            if !self.report(What::Gpu { device, gpu: &gpu })? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn report(&self, what: What<'_>) -> Result<bool> {
        let line = Line { schema: SCHEMA, at_us: clock::now_us(), what };
        (self.print)(&if self.json { json(&line)? } else { line.text() })
    }
}

/// Returns the match rules: signals of the service's objects, and changes of its name's owner.
fn rules() -> zbus::Result<[MatchRule<'static>; 2]> {
    let objects = MatchRule::builder()
        .msg_type(Type::Signal)
        .sender(SERVICE)
        .path_namespace(MANAGER_PATH)
        .build()?;
    let name = MatchRule::builder()
        .msg_type(Type::Signal)
        .sender("org.freedesktop.DBus")
        .member("NameOwnerChanged")
        .add_arg(SERVICE)
        .build()?;
    Ok([objects, name])
}

fn text(value: &Variant<'_>) -> String {
    <&str>::try_from(value).unwrap_or_default().to_owned()
}

impl Gpu {
    fn of(properties: &HashMap<String, OwnedVariant>) -> (String, Self) {
        let (mut device, mut gpu) = (String::new(), Self::default());
        for (name, value) in properties {
            let value = text(value);
            if name == "Device" {
                device = value;
            } else {
                gpu.set(name, value);
            }
        }
        (device, gpu)
    }

    fn set(&mut self, property: &str, value: String) {
        let some = |value: String| Some(value).filter(|value| !value.is_empty());
        match property {
            "State" => self.state = value,
            "Reason" => self.reason = value,
            "Heap" => self.heap = some(value),
            "Driver" => self.driver = some(value),
            _ => {}
        }
    }
}

impl Line<'_> {
    fn text(&self) -> String {
        let at = format!("{:>13} ms", format!("{}.{:03}", self.at_us / 1_000, self.at_us % 1_000));
        match &self.what {
            What::Service { service: "gone" } => format!("{at}  {DAEMON} stopped\n"),
            What::Service { .. } => format!("{at}  {DAEMON} started\n"),
            What::Gpu { device, gpu: Gpu { state, reason, heap, driver } } => {
                let why = if reason.is_empty() { "" } else { ", " };
                let (heap, driver) = (joined(heap, "no heap"), joined(driver, "no driver"));
                let (device, state, reason) =
                    (Sanitized(device), Sanitized(state), Sanitized(reason));
                format!("{at}  {device}: {state}{why}{reason}: {heap}, {driver}\n")
            }
        }
    }
}
