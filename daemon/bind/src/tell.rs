// SPDX-License-Identifier: MIT OR Apache-2.0

//! Telling people what was not as it should be.

use std::fmt;

use protheap_board::Problem;
use protheap_policy::diagnostic::Diagnostic;
use protheap_policy::name::DeviceName;
use protheap_policy::sanitize::Sanitized;

/// Who tells, and where to.
#[derive(Debug, Clone, Copy)]
pub struct Teller {
    /// What the program calls itself.
    pub program: &'static str,
    /// Tells one thing.
    pub say: fn(program: &str, told: &Told<'_>),
}

/// What is told.
#[derive(Debug)]
pub enum Told<'a> {
    /// Something was there and was not used.
    Skipped(&'a Problem),
    /// A policy file that was not used, for these reasons.
    Refused(&'a str, &'a [Diagnostic]),
    /// About a GPU.
    Gpu(&'a DeviceName, fmt::Arguments<'a>),
    /// About anything else.
    Other(fmt::Arguments<'a>),
}

impl Teller {
    /// One that tells on standard error.
    pub const fn stderr(program: &'static str) -> Self {
        Self { program, say }
    }

    pub(crate) fn tell(&self, told: &Told<'_>) {
        (self.say)(self.program, told);
    }

    pub(crate) fn gpu(&self, device: &DeviceName, text: fmt::Arguments<'_>) {
        self.tell(&Told::Gpu(device, text));
    }
}

/// Text that may have come from outside, as it may go to a terminal or a log.
pub fn one_line(text: fmt::Arguments<'_>) -> String {
    Sanitized(&text.to_string()).to_string()
}

fn say(program: &str, told: &Told<'_>) {
    match told {
        Told::Skipped(problem) => eprintln!("{program}: skipped: {problem}"),
        Told::Refused(path, faults) => {
            for fault in *faults {
                eprint!("{fault}");
            }
            let path = Sanitized(path);
            eprintln!("{program}: skipped: {path}: the rest of the cascade applies");
        }
        Told::Gpu(device, text) => eprintln!("{program}: {device}: {}", one_line(*text)),
        Told::Other(text) => eprintln!("{program}: {}", one_line(*text)),
    }
}
