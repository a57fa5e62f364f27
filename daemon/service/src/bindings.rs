// SPDX-License-Identifier: MIT OR Apache-2.0

//! The thread that owns the bindings. It never waits for a client, and only clients whose calls
//! need it wait for it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc;

use anyhow::Context;
use protheap_board::root::Root;
use protheap_core::engine::{NoDemand, NoRebind};
use protheap_policy::name::DeviceName;
use protheap_runtime::executor::DaemonExecutor;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use tokio::sync::{oneshot, watch};

use crate::journal;
use crate::monitor::Monitor;
use crate::snapshot::Snapshot;

/// Requests to the thread.
enum Command {
    Reload(oneshot::Sender<bool>),
    Rebind(DeviceName, oneshot::Sender<Result<(), NoRebind>>),
    Demand(DeviceName, oneshot::Sender<Result<(), NoDemand>>),
    /// Checks that the thread responds.
    Answer(oneshot::Sender<()>),
}

/// A handle to the thread, used by the other parts of the daemon.
#[derive(Debug, Clone)]
pub(crate) struct Bindings {
    commands: mpsc::Sender<Command>,
    bell: Arc<OwnedFd>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    root: Arc<Root>,
}

/// The thread has ended, so the daemon cannot continue.
#[derive(Debug, thiserror::Error)]
#[error("the bindings thread has exited")]
pub(crate) struct Ended;

impl Bindings {
    /// Takes over the existing bindings and starts the thread that owns them from then on. The
    /// receiver returns the reason why the thread ended.
    pub(crate) async fn start() -> anyhow::Result<(Self, oneshot::Receiver<anyhow::Error>)> {
        let machine = || Root::open("/".as_ref());
        let (root, its) = (Arc::new(machine()?), machine()?);
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .context("failed to create an eventfd")?;
        let bell = Arc::new(bell);
        let (commands, asked) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let (begin, began) = oneshot::channel();
        let rung = Arc::clone(&bell);
        std::thread::Builder::new()
            .name("bindings".to_owned())
            .spawn(move || {
                let Err(error) = run(its, &rung, &asked, begin);
                // Sending fails only if the daemon is exiting anyway.
                let _ = end.send(error);
            })
            .context("failed to start the bindings thread")?;
        match began.await {
            Ok(snapshots) => Ok((Self { commands, bell, snapshots, root }, ended)),
            Err(_) => Err(ended.await?),
        }
    }

    /// Returns the current snapshot.
    pub(crate) fn now(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Returns the machine's root, for facts that are read only on request.
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// Returns a receiver of future snapshots.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Reads the policies again. Returns whether they changed.
    pub(crate) async fn reload(&self) -> Result<bool, Ended> {
        self.ask(Command::Reload).await
    }

    /// Re-runs heap selection for a GPU.
    pub(crate) async fn rebind(&self, device: DeviceName) -> Result<Result<(), NoRebind>, Ended> {
        self.ask(|answer| Command::Rebind(device, answer)).await
    }

    /// Binds a GPU's heap on demand.
    pub(crate) async fn demand(&self, device: DeviceName) -> Result<Result<(), NoDemand>, Ended> {
        self.ask(|answer| Command::Demand(device, answer)).await
    }

    /// Returns once the thread has processed its pending work.
    pub(crate) async fn answer(&self) -> Result<(), Ended> {
        self.ask(Command::Answer).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Ended> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).map_err(|_| Ended)?;
        // Writing fails only if the counter is full of unprocessed wake-ups, which is sufficient.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        answered.await.map_err(|_| Ended)
    }
}

#[cfg(test)]
impl Bindings {
    /// Returns a handle with a fixed snapshot and without a thread.
    pub(crate) fn given(engine: &protheap_core::engine::Keeper) -> Self {
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
        let snapshot = Arc::new(Snapshot::new(engine, &[]));
        let root = Arc::new(Root::open("/".as_ref()).unwrap());
        Self { commands: mpsc::channel().0, bell, snapshots: watch::channel(snapshot).1, root }
    }
}

fn run(
    root: Root,
    bell: &OwnedFd,
    asked: &mpsc::Receiver<Command>,
    begin: oneshot::Sender<watch::Receiver<Arc<Snapshot>>>,
) -> anyhow::Result<std::convert::Infallible> {
    // Open the monitor first, so that no event is missed while facts are read.
    let monitor = Monitor::open()
        .context("failed to listen to kernel events, for which a sandbox must allow AF_NETLINK")?;
    let opened = DaemonExecutor::new(root, journal::LOG);
    let mut executor = opened.map_err(|error| anyhow::anyhow!("{error}"))?;
    executor.restore();
    executor.log_notes();
    executor.start();
    let (publish, snapshots) =
        watch::channel(Arc::new(Snapshot::new(executor.engine(), executor.refused())));
    journal::log_start(&publish.borrow());
    if begin.send(snapshots).is_err() {
        anyhow::bail!("the main thread has exited");
    }
    loop {
        let (happened, called) = wait(&monitor, bell, executor.rest())?;
        if happened {
            let collected = monitor.receive(&executor);
            executor.apply(collected);
        }
        executor.wake();
        publish_changes(&publish, &executor);
        if called {
            let _ = rustix::io::read(bell, &mut [0u8; 8]);
            for command in asked.try_iter() {
                serve(command, &mut executor, &publish);
            }
        }
    }
}

/// Executes a request. Publishes its changes before sending the answer. The client may no longer be
/// waiting for the answer.
fn serve(command: Command, executor: &mut DaemonExecutor, publish: &watch::Sender<Arc<Snapshot>>) {
    match command {
        Command::Reload(answer) => {
            let changed = executor.reload();
            publish_changes(publish, executor);
            let _ = answer.send(changed);
        }
        Command::Rebind(device, answer) => {
            let done = executor.rebind(&device);
            publish_changes(publish, executor);
            let _ = answer.send(done);
        }
        Command::Demand(device, answer) => {
            let done = executor.demand(&device);
            publish_changes(publish, executor);
            let _ = answer.send(done);
        }
        Command::Answer(answer) => {
            let _ = answer.send(());
        }
    }
}

fn publish_changes(publish: &watch::Sender<Arc<Snapshot>>, executor: &DaemonExecutor) {
    let (engine, refused) = (executor.engine(), executor.refused());
    let before = Arc::clone(&publish.borrow());
    if before.engine != *engine || before.refused != refused {
        let now = Arc::new(Snapshot::new(engine, refused));
        journal::log_changes(&before, &now);
        publish.send_replace(now);
    }
}

/// Waits for a kernel event, a request, or until `rest` has passed.
fn wait(
    monitor: &Monitor,
    bell: &OwnedFd,
    rest: Option<std::time::Duration>,
) -> anyhow::Result<(bool, bool)> {
    let timeout = rest.map(|rest| Timespec {
        tv_sec: i64::try_from(rest.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: rest.subsec_nanos().into(),
    });
    let (events, calls) = (monitor.as_fd(), bell.as_fd());
    let mut fds = [PollFd::new(&events, PollFlags::IN), PollFd::new(&calls, PollFlags::IN)];
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => {
            let [happened, called] = fds.map(|fd| !fd.revents().is_empty());
            Ok((happened, called))
        }
        Err(Errno::INTR) => Ok((false, false)),
        Err(error) => Err(error).context("failed to wait for kernel events"),
    }
}
