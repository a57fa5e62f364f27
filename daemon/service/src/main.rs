// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapd`: owns the bindings while the system runs.
//!
//! The daemon takes over the bindings of the early binder, hands over the suspend buffers that a
//! GPU's firmware requires, withdraws a binding when its TEE is removed, binds a heap that appears
//! late, and follows policy changes. It publishes the state for media stacks in files and over
//! D-Bus. The kernel keeps all state that must persist, so the daemon can be killed and started at
//! any time.
//!
//! One thread owns the bindings and makes the system calls that may block (`bindings`); everything
//! else runs on the main thread.

#![forbid(unsafe_code)]

mod authority;
mod bindings;
mod bus;
mod journal;
mod limit;
mod monitor;
mod policies;
mod snapshot;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use bindings::Bindings;
use policies::Policies;
use protheap_core::engine::Machine as _;
use protheap_runtime::log::one_line;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{error, warn};

/// Name of this program in messages.
const PROGRAM: &str = "protheapd";
/// Time after which a daemon without a GPU exits if no client makes a call.
const IDLE: Duration = Duration::from_secs(60);

const HELP: &str = "\
Manage the bindings of protected heaps to Mali CSF GPUs while the system runs.

Usage: protheapd

  --help      print this help
  --version   print the version

SIGHUP reloads the policies. SIGTERM and SIGINT stop the daemon and leave all bindings as they are.
Without a GPU, it exits after a minute without calls.

Exit status: 0 if it was stopped or idle, 1 on a fatal error, 2 on a usage error.
";

fn main() -> ExitCode {
    let text = match argument() {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{PROGRAM}: {}\n\n{HELP}", one_line(format_args!("{error}")));
            return ExitCode::from(2);
        }
    };
    if let Some(text) = text {
        print!("{text}");
        return ExitCode::SUCCESS;
    }
    journal::init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{}", one_line(format_args!("{error:#}")));
            ExitCode::from(1)
        }
    }
}

/// Returns the text to print if an option requests only that.
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

fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("failed to start the async runtime")?;
    let done = runtime.block_on(serve());
    // A running kernel operation may complete later: the kernel's state is consistent after each
    // step.
    runtime.shutdown_background();
    done
}

async fn serve() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hang_up = signal(SignalKind::hangup())?;
    // Start to watch before anything is read.
    let policies = Policies::watch("/".as_ref());
    let (bindings, ended) = tokio::select! {
        started = Bindings::start() => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let asked = Notify::new();
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        ended = ended => Err(ended.unwrap_or_else(|_| bindings::Ended.into())),
        served = bus::serve(&bindings, &asked) => {
            served.map(|_| ()).context("failed to serve on the system bus; stop any other protheapd")
        }
        () = idle(&bindings, &asked) => Ok(()),
        followed = follow(&bindings, policies, hang_up) => followed,
        watched = watchdog(&bindings) => watched,
    }
}

/// Reads the policies again when they change or SIGHUP arrives.
async fn follow(
    bindings: &Bindings,
    policies: anyhow::Result<Policies>,
    mut hang_up: Signal,
) -> anyhow::Result<()> {
    let mut policies = policies
        .inspect_err(|error| warn!("{error:#}; send SIGHUP after a change of policies"))
        .ok();
    loop {
        let changed = async {
            match &mut policies {
                Some(policies) => policies.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changed => {}
            _ = hang_up.recv() => {}
        }
        bindings.reload().await?;
    }
}

/// Notifies the service manager regularly while both threads respond.
async fn watchdog(bindings: &Bindings) -> anyhow::Result<()> {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    loop {
        sleep(limit / 2).await;
        bindings.answer().await?;
        sd_notify::notify(&[NotifyState::Watchdog])
            .context("failed to notify systemd's watchdog")?;
    }
}

/// Returns when there is no GPU and no client has made a call for [`IDLE`].
async fn idle(bindings: &Bindings, asked: &Notify) {
    let mut changes = bindings.changes();
    loop {
        let has_gpu = !changes.borrow_and_update().engine.facts().gpus.is_empty();
        tokio::select! {
            () = sleep(IDLE), if !has_gpu => return,
            () = asked.notified(), if !has_gpu => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}
