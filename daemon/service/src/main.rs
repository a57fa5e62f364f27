// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapd`: owns the bindings while the system runs.
//!
//! It takes over what the early binder left, hands over the suspend buffers that a GPU's firmware
//! asks for, takes a binding away when its TEE goes, and binds late where a heap came after all.
//! The kernel knows everything that has to survive: the daemon can be killed and started at any
//! time.

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use protheap_bind::Result;
use protheap_bind::binder::Binder;
use protheap_board::root::Root;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_shutdown;

/// What this program calls itself.
const PROGRAM: &str = "protheapd";

const HELP: &str = "\
Owns the bindings of protected heaps to Mali CSF GPUs while the system runs.

Usage: protheapd

  --version   print the version

It ends with 0 at SIGTERM and SIGINT, and leaves every binding as it is. It ends with 1 if it cannot
go on, with 2 for wrong usage.
";

fn main() -> ExitCode {
    let text = match argument() {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{PROGRAM}: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    if let Some(text) = text {
        print!("{text}");
        return ExitCode::SUCCESS;
    }
    let Err(error) = serve();
    eprintln!("{PROGRAM}: {error}");
    ExitCode::from(1)
}

/// What is to be printed, if that is all.
fn argument() -> Result<Option<String>, lexopt::Error> {
    use lexopt::prelude::{Long, Short};

    match lexopt::Parser::from_env().next()? {
        None => Ok(None),
        Some(Long("version") | Short('V')) => {
            Ok(Some(format!("{PROGRAM} {}\n", env!("CARGO_PKG_VERSION"))))
        }
        Some(Long("help") | Short('h')) => Ok(Some(HELP.to_owned())),
        Some(other) => Err(other.unexpected()),
    }
}

fn serve() -> Result<Infallible> {
    // At once, whatever is under way: files are replaced whole, and the kernel's state is whole
    // after each step.
    let at_once = Arc::new(AtomicBool::new(true));
    for signal in [SIGTERM, SIGINT] {
        register_conditional_shutdown(signal, 0, Arc::clone(&at_once))?;
    }
    Binder::<true>::new(Root::open("/".as_ref())?, PROGRAM)?.serve()
}
