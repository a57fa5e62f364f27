// SPDX-License-Identifier: MIT OR Apache-2.0

//! The daemon's log: with fields to the journal, or as lines to standard error.
//! `systemd/catalog/protheap.catalog` explains the messages by their `MESSAGE_ID`.

use std::collections::BTreeMap;
use std::os::linux::fs::MetadataExt;
use std::sync::Mutex;

use protheap_core::engine::Machine as _;
use protheap_core::state::{Reason, State};
use protheap_core::state_file::GpuState;
use protheap_policy::name::Key;
use protheap_policy::sanitize::Sanitized;
use protheap_runtime::log::{Log, Message, one_line};
use tracing::{info, warn};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::PROGRAM;
use crate::snapshot::Snapshot;

/// Values of `MESSAGE_ID`.
pub(crate) mod id {
    /// A GPU has a heap.
    pub(crate) const BOUND: &str = "09db2812771449af8b6825897e91babb";
    /// A GPU has no heap, as expected.
    pub(crate) const UNPROTECTED: &str = "b69bd431a36946cbb38c906a97c8b8c2";
    /// A GPU has no heap, and needs attention.
    pub(crate) const FAILED: &str = "b2c8bc6f78e0485d9dc8a5710293e87b";
    /// A file or attribute was skipped.
    pub(crate) const SKIPPED: &str = "8f649c9b39ea4ee794e7a79a289613e6";
    /// An operation on a GPU's binding failed.
    pub(crate) const TROUBLE: &str = "07c1baa3a30341b791c7a1a6aa029463";
    /// A client received a descriptor of a heap.
    pub(crate) const OPENED: &str = "0ba5c79dc2484806a6aa059d1870de14";
    /// The policies changed.
    pub(crate) const RELOADED: &str = "77cca231761540b7aba612dccbe4187a";
    /// The message bus is missing, or has returned.
    pub(crate) const BUS: &str = "87b62167e07a46218ca1969adbf41224";
}

/// The log of the executor.
pub(crate) const LOG: Log = Log { program: PROGRAM, sink: write };

/// Initializes the log.
pub(crate) fn init() {
    let level = match std::env::var("PROTHEAP_LOG").as_deref() {
        Ok("debug") => LevelFilter::DEBUG,
        _ => LevelFilter::INFO,
    };
    let registry = tracing_subscriber::registry().with(level);
    let journal = is_journal().then(tracing_journald::layer).and_then(Result::ok);
    let begun = match journal {
        Some(journal) => registry.with(journal.with_field_prefix(None)).try_init(),
        None => {
            let lines = tracing_subscriber::fmt::layer()
                .without_time()
                .with_level(false)
                .with_target(false)
                .with_ansi(false)
                .fmt_fields(MessageOnly)
                .with_writer(std::io::stderr);
            registry.with(lines).try_init()
        }
    };
    if let Err(error) = begun {
        eprintln!("{PROGRAM}: failed to initialize logging: {error}");
    }
}

/// Returns whether standard error is the journal's (systemd.exec(5), JOURNAL_STREAM).
fn is_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").ok();
    let stderr = std::fs::metadata("/proc/self/fd/2").ok();
    let (Some(stream), Some(stderr)) = (stream, stderr) else { return false };
    stream == format!("{}:{}", stderr.st_dev(), stderr.st_ino())
}

/// Formats the message of an event without its fields, which are for the journal.
struct MessageOnly;

impl<'w> tracing_subscriber::fmt::FormatFields<'w> for MessageOnly {
    fn format_fields<R: tracing_subscriber::field::RecordFields>(
        &self,
        mut writer: tracing_subscriber::fmt::format::Writer<'w>,
        fields: R,
    ) -> std::fmt::Result {
        struct Visitor(String);
        impl tracing::field::Visit for Visitor {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{PROGRAM}: {value:?}");
                }
            }
        }
        let mut visitor = Visitor(String::new());
        fields.record(&mut visitor);
        writer.write_str(&visitor.0)
    }
}

/// Last message about each path. Policies are read repeatedly, and mostly unchanged.
static LOGGED: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// Returns whether `text` differs from the last message about `path`.
fn is_new(path: &str, text: &str) -> bool {
    let Ok(mut logged) = LOGGED.lock() else { return true };
    logged.insert(path.to_owned(), text.to_owned()).is_none_or(|before| before != text)
}

fn write(_: &str, message: &Message<'_>) {
    match message {
        Message::Skipped(problem) => {
            if is_new(&problem.path, &problem.message) {
                let path = one_line(format_args!("{}", problem.path));
                warn!(MESSAGE_ID = id::SKIPPED, PATH = path, "skipped: {problem}");
            }
        }
        Message::Refused(path, faults) => {
            let faults: String = faults.iter().map(ToString::to_string).collect();
            let path = &Sanitized(path).to_string();
            if is_new(path, &faults) {
                let rest =
                    "its last valid contents, if any, and the other policy files still apply";
                warn!(MESSAGE_ID = id::SKIPPED, PATH = path, "skipped: {path}: {rest}\n{faults}");
            }
        }
        Message::Gpu(device, text) => {
            let text = one_line(*text);
            warn!(MESSAGE_ID = id::TROUBLE, GPU = device.as_str(), "{device}: {text}");
        }
        Message::Other(text) => warn!("{}", one_line(*text)),
    }
}

/// Logs the bindings that the daemon found at its start.
pub(crate) fn log_start(now: &Snapshot) {
    now.gpus().iter().filter(|gpu| gpu.state.is_end()).for_each(log_gpu);
}

/// Logs each change between two snapshots once.
pub(crate) fn log_changes(before: &Snapshot, now: &Snapshot) {
    let logged = |gpu: &GpuState| (gpu.state, gpu.reason, gpu.heap.clone());
    for gpu in now.gpus().iter().filter(|gpu| gpu.state.is_end()) {
        if before.gpu(&gpu.device).map(logged) != Some(logged(gpu)) {
            log_gpu(gpu);
        }
    }
    // A file that becomes bad again is logged again.
    if let Ok(mut logged) = LOGGED.lock() {
        logged.retain(|path, _| now.refused.iter().any(|refused| refused.path == *path));
    }
    if before.engine.policy() != now.engine.policy() {
        let keys: Vec<_> = now.engine.policy().keys().into_iter().map(Key::as_str).collect();
        let keys = keys.join(", ");
        info!(MESSAGE_ID = id::RELOADED, POLICIES = keys, "policies in effect: {keys}");
    }
}

fn log_gpu(gpu: &GpuState) {
    let (state, reason) = (gpu.state.as_str(), Reason::optional_str(gpu.reason));
    let heap = gpu.heap.as_ref().map_or("", |heap| heap.as_str());
    let device = gpu.device.as_str();
    let reasons = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    let buffers = match (gpu.suspend_buffers, gpu.suspend_count) {
        (Some(buffers), Some(count)) if buffers < count => {
            let why =
                gpu.suspend_shortage.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            format!(", with {buffers} of {count} suspend buffers{why}")
        }
        _ => String::new(),
    };
    match gpu.state {
        State::Bound | State::InUse => info!(
            MESSAGE_ID = id::BOUND,
            GPU = device,
            STATE = state,
            REASON = reason,
            HEAP = heap,
            "{device}: {state}: {heap}{reasons}{buffers}"
        ),
        State::Failed => warn!(
            MESSAGE_ID = id::FAILED,
            GPU = device,
            STATE = state,
            REASON = reason,
            HEAP = heap,
            "{device}: {state}{reasons}; run `protheapctl` for details"
        ),
        _ => info!(
            MESSAGE_ID = id::UNPROTECTED,
            GPU = device,
            STATE = state,
            REASON = reason,
            HEAP = heap,
            "{device}: {state}{reasons}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn catalog_and_message_ids_agree() {
        let catalog = include_str!("../../../systemd/catalog/protheap.catalog");
        let explained: BTreeSet<_> =
            catalog.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
        let source = include_str!("journal.rs");
        let begin = source.find("mod id {").unwrap();
        let ids = &source[begin..source[begin..].find("\n}").unwrap() + begin];
        let used: BTreeSet<_> = ids.lines().filter_map(|line| line.split('"').nth(1)).collect();
        assert_eq!(used.len(), 8);
        assert_eq!(used, explained);
    }
}
