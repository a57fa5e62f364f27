// SPDX-License-Identifier: MIT OR Apache-2.0

//! The log of a program: standard error, or a function of the program.

use std::fmt;

use protheap_board::Problem;
use protheap_policy::diagnostic::Diagnostic;
use protheap_policy::name::DeviceName;
use protheap_policy::sanitize::Sanitized;

/// Destination of a program's log.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    /// Name of the program.
    pub program: &'static str,
    /// Function that writes one message.
    pub sink: fn(program: &str, message: &Message<'_>),
}

/// One message.
#[derive(Debug)]
pub enum Message<'a> {
    /// A file or attribute that was skipped.
    Skipped(&'a Problem),
    /// A policy file that was refused, and its faults.
    Refused(&'a str, &'a [Diagnostic]),
    /// About a GPU.
    Gpu(&'a DeviceName, fmt::Arguments<'a>),
    /// About anything else.
    Other(fmt::Arguments<'a>),
}

impl Log {
    /// Returns a log to standard error.
    pub const fn stderr(program: &'static str) -> Self {
        Self { program, sink: write_stderr }
    }

    pub(crate) fn write(&self, message: &Message<'_>) {
        (self.sink)(self.program, message);
    }

    pub(crate) fn gpu(&self, device: &DeviceName, text: fmt::Arguments<'_>) {
        self.write(&Message::Gpu(device, text));
    }
}

/// Returns `text`, which may come from outside, as one sanitized line.
pub fn one_line(text: fmt::Arguments<'_>) -> String {
    Sanitized(&text.to_string()).to_string()
}

fn write_stderr(program: &str, message: &Message<'_>) {
    match message {
        Message::Skipped(problem) => eprintln!("{program}: skipped: {problem}"),
        Message::Refused(path, faults) => {
            for fault in *faults {
                eprint!("{fault}");
            }
            let path = Sanitized(path);
            eprintln!("{program}: skipped: {path}: the other policy files still apply");
        }
        Message::Gpu(device, text) => eprintln!("{program}: {device}: {}", one_line(*text)),
        Message::Other(text) => eprintln!("{program}: {}", one_line(*text)),
    }
}
