// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reads the kernel log, if permitted.

use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

use crate::root::Root;

const KMSG: &str = "dev/kmsg";
/// Maximum size of a record in bytes (`PRINTKRB_RECORD_MAX`).
const RECORD: usize = 8192;
/// Maximum number of records that are read; larger than the largest log of any distribution's
/// kernel.
const RECORDS: usize = 100_000;

/// Returns the kernel's last message about a failed probe of `device`, preceded by the last message
/// of its driver, one of `modules`. Returns `None` if there is no such message or the log may not
/// be read.
pub(crate) fn probe_failure(root: &Root, device: &str, modules: &[String]) -> Option<String> {
    if !root.is_running() {
        return None;
    }
    let log = root.open_at(KMSG, OFlags::RDONLY).ok()?;
    if FileType::from_raw_mode(fstat(&log).ok()?.st_mode) != FileType::CharacterDevice {
        return None;
    }
    let mut search = Search { device, modules, context: None, found: None };
    let mut record = vec![0; RECORD];
    for _ in 0..RECORDS {
        match rustix::io::read(&log, record.as_mut_slice()) {
            Ok(length) => search.take(record.get(..length)?),
            // Older records were overwritten, or a signal arrived.
            Err(Errno::PIPE | Errno::INTR) => {}
            // There are no more records.
            Err(_) => break,
        }
    }
    search.found
}

struct Search<'a> {
    device: &'a str,
    modules: &'a [String],
    /// The last message of the driver.
    context: Option<String>,
    found: Option<String>,
}

impl Search<'_> {
    /// Examines a record: `PRIORITY,NUMBER,TIME,FLAGS;TEXT`, followed by lines with variables.
    fn take(&mut self, record: &[u8]) {
        let record = String::from_utf8_lossy(record);
        let Some((_, text)) = record.split_once(';') else { return };
        let text = text.lines().next().unwrap_or_default();
        let Some(message) = self.message(text) else { return };
        let is_failure = message.starts_with("probe ") && message.contains(" failed with error ");
        if is_failure {
            let context = self.context.take().map(|context| format!("{context}; "));
            self.found = Some(format!("{}{message}", context.unwrap_or_default()));
        } else {
            self.context = Some(message.to_owned());
        }
    }

    /// Returns the message in `text` if it is about the device or from its driver.
    fn message<'t>(&self, text: &'t str) -> Option<&'t str> {
        // Up to Linux 6.9: `DRIVER: probe of DEVICE failed with error -22`.
        let old = format!("probe of {} failed", self.device);
        if let Some(at) = text.find(&old) {
            return text.get(at..);
        }
        // `DRIVER DEVICE: MESSAGE`, or `MODULE: MESSAGE`.
        let (source, message) = text.split_once(": ")?;
        let is_own = source == self.device
            || source.strip_suffix(self.device).is_some_and(|rest| rest.ends_with(' '))
            || self.modules.iter().any(|module| module == source);
        is_own.then_some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(records: &[&str]) -> Option<String> {
        let modules = ["optee".to_owned()];
        let mut search =
            Search { device: "firmware:optee", modules: &modules, context: None, found: None };
        for record in records {
            search.take(record.as_bytes());
        }
        search.found
    }

    #[test]
    fn probe_failure_includes_the_last_driver_message() {
        let device = "\n SUBSYSTEM=platform\n DEVICE=+platform:firmware:optee\n";
        let failed = format!(
            "3,310,903112,-;optee firmware:optee: probe with driver optee failed with error -22{device}"
        );
        let log = [
            "6,301,1,-;optee: probing for conduit method.\n",
            "4,302,2,-;optee: api uid mismatch\n",
            "6,303,3,-;panthor fb000000.gpu: probe with driver panthor failed with error -2\n",
            &failed,
        ];
        let message = "api uid mismatch; probe with driver optee failed with error -22";
        assert_eq!(found(&log).as_deref(), Some(message));
        assert_eq!(found(&log[..3]), None);
        let old = "3,9,9,-;optee: probe of firmware:optee failed with error -22\n";
        let message = "probe of firmware:optee failed with error -22";
        assert_eq!(found(&[old]).as_deref(), Some(message));
        let other =
            "3,9,9,-;optee firmware:optee2: probe with driver optee failed with error -22\n";
        assert_eq!(found(&[other, "", ";", "3,1,1,-;"]), None);
    }
}
