// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's log, as far as it may be read.

use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

use crate::root::Root;

const KMSG: &str = "dev/kmsg";
/// The longest record, in bytes (`PRINTKRB_RECORD_MAX`).
const RECORD: usize = 8192;
/// The most records that are read: more than the largest log of a distribution's kernel has.
const RECORDS: usize = 100_000;

/// The kernel's last message about a failed probe of `device`, and before it what the driver, one of
/// `modules`, logged last. `None`: there is none, or the log may not be read.
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
            // Older records were overwritten, or a signal came.
            Err(Errno::PIPE | Errno::INTR) => {}
            // That was the last one.
            Err(_) => break,
        }
    }
    search.found
}

struct Search<'a> {
    device: &'a str,
    modules: &'a [String],
    /// The last line that the driver logged.
    context: Option<String>,
    found: Option<String>,
}

impl Search<'_> {
    /// Takes a record: `PRIORITY,NUMBER,TIME,FLAGS;TEXT`, then lines with variables.
    fn take(&mut self, record: &[u8]) {
        let record = String::from_utf8_lossy(record);
        let Some((_, text)) = record.split_once(';') else { return };
        let text = text.lines().next().unwrap_or_default();
        let Some(said) = self.said(text) else { return };
        let is_failure = said.starts_with("probe ") && said.contains(" failed with error ");
        if is_failure {
            let context = self.context.take().map(|context| format!("{context}; "));
            self.found = Some(format!("{}{said}", context.unwrap_or_default()));
        } else {
            self.context = Some(said.to_owned());
        }
    }

    /// The message of `text`, if it is about the device or from its driver.
    fn said<'t>(&self, text: &'t str) -> Option<&'t str> {
        // Up to Linux 6.9: `DRIVER: probe of DEVICE failed with error -22`.
        let old = format!("probe of {} failed", self.device);
        if let Some(at) = text.find(&old) {
            return text.get(at..);
        }
        // `DRIVER DEVICE: MESSAGE`, or `MODULE: MESSAGE`.
        let (source, said) = text.split_once(": ")?;
        let is_own = source == self.device
            || source.strip_suffix(self.device).is_some_and(|rest| rest.ends_with(' '))
            || self.modules.iter().any(|module| module == source);
        is_own.then_some(said)
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
    fn probe_failure_has_what_the_driver_said_before() {
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
        let said = "api uid mismatch; probe with driver optee failed with error -22";
        assert_eq!(found(&log).as_deref(), Some(said));
        assert_eq!(found(&log[..3]), None);
        let old = "3,9,9,-;optee: probe of firmware:optee failed with error -22\n";
        let said = "probe of firmware:optee failed with error -22";
        assert_eq!(found(&[old]).as_deref(), Some(said));
        let other =
            "3,9,9,-;optee firmware:optee2: probe with driver optee failed with error -22\n";
        assert_eq!(found(&[other, "", ";", "3,1,1,-;"]), None);
    }
}
