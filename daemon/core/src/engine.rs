// SPDX-License-Identifier: MIT OR Apache-2.0

//! State machines that bind heaps to GPUs: they take events and the time, and return actions.
//!
//! The caller carries out the actions in order and reports their results as events. A GPU is held
//! only while the kernel's hold timeout runs. The kernel ends the hold by itself, whatever happens
//! to the caller.
//!
//! An attempt tries to bind one GPU. [`Binder`] runs one attempt for each GPU, holds the GPU until
//! its heap appears, and is done when every attempt has ended. [`Keeper`] serves the daemon: it
//! holds no GPU and does not end. It adopts the kernel's bindings, supplies suspend buffers,
//! withdraws a binding when its TEE goes away, and starts attempts when a fact or a policy changes
//! or a client requests one. The binder, which has to be small, contains none of the keeper's code.

mod action;
mod agree;
mod attempt;
mod binder;
mod binding;
mod event;
mod keeper;
mod known;
mod machine;

pub use action::Action;
pub use binder::Binder;
pub use binding::Binding;
pub use event::{Bound, Change, Event, Opened, Supplied};
pub use keeper::{Keeper, NoDemand, NoRebind};
pub use machine::Machine;

pub use crate::timeline::Monotonic;

#[cfg(test)]
pub(super) mod tests;
#[cfg(test)]
mod transitions;
#[cfg(test)]
mod two_gpus;
