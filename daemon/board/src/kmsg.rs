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
    let mut search = Search { device, modules, context: None, found: None };
    each_record(root, &mut |record| search.take(record));
    search.found
}

/// Returns the file that the kernel last failed to load for `device` because it did not exist, such
/// as `arm/mali/arch10.8/mali_csffw.bin`. Returns `None` if there is no such message or the log may
/// not be read.
pub fn missing_firmware(root: &Root, device: &str) -> Option<String> {
    let mut found = None;
    each_record(root, &mut |record| {
        if let Some(file) = missing_file(record, device) {
            found = Some(file);
        }
    });
    found
}

/// Returns the file of a record about firmware that does not exist (`ENOENT`), as in
/// `drivers/base/firmware_loader/main.c`.
fn missing_file(record: &[u8], device: &str) -> Option<String> {
    let record = String::from_utf8_lossy(record);
    let (source, message) = record.split_once(';')?.1.lines().next()?.split_once(": ")?;
    let is_own =
        source == device || source.strip_suffix(device).is_some_and(|rest| rest.ends_with(' '));
    let file = message.strip_prefix("Direct firmware load for ")?;
    let file = file.strip_suffix(" failed with error -2")?;
    is_own.then(|| file.to_owned())
}

/// Calls `visit` with each record of the kernel log, the oldest first. Does nothing if the log may
/// not be read or `root` is another machine's.
pub(crate) fn each_record(root: &Root, visit: &mut dyn FnMut(&[u8])) {
    if !root.is_running() {
        return;
    }
    let Ok(log) = root.open_at(KMSG, OFlags::RDONLY | OFlags::NONBLOCK) else { return };
    let is_device = |mode| FileType::from_raw_mode(mode) == FileType::CharacterDevice;
    if !fstat(&log).is_ok_and(|stat| is_device(stat.st_mode)) {
        return;
    }
    let mut record = vec![0; RECORD];
    for _ in 0..RECORDS {
        match rustix::io::read(&log, record.as_mut_slice()) {
            Ok(length) => visit(record.get(..length).unwrap_or_default()),
            // Older records were overwritten, or a signal arrived.
            Err(Errno::PIPE | Errno::INTR) => {}
            // There are no more records.
            Err(_) => break,
        }
    }
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
    fn missing_file_is_that_of_the_device() {
        let missing = |text: &str| missing_file(text.as_bytes(), "fb000000.gpu");
        let log = |source: &str, error: i32| {
            format!(
                "4,9,9,-;{source}: Direct firmware load for arm/mali/arch10.8/mali_csffw.bin failed \
                 with error {error}\n SUBSYSTEM=platform\n"
            )
        };
        let file = Some("arm/mali/arch10.8/mali_csffw.bin".to_owned());
        assert_eq!(missing(&log("panthor fb000000.gpu", -2)), file);
        assert_eq!(missing(&log("fb000000.gpu", -2)), file);
        assert_eq!(missing(&log("panthor fb000000.gpu", -12)), None);
        assert_eq!(missing(&log("panthor 1fb000000.gpu", -2)), None);
        assert_eq!(missing("3,1,1,-;panthor fb000000.gpu: other"), None);
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
