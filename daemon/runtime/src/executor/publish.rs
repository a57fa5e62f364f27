// SPDX-License-Identifier: MIT OR Apache-2.0

//! Publishes the state of all bindings below `/run/protheap`.

use protheap_board::Problem;
use protheap_board::run::RunDirectory;
use protheap_core::engine::{Binding, Machine};
use protheap_core::report::report;
use protheap_core::state::Reason;
use protheap_core::state_file::Refused;
use protheap_policy::sanitize;

use super::Executor;
use crate::kernel::Kernel;
use crate::log::Message;
use crate::survey::log_problem;

impl<M: Machine, K: Kernel> Executor<M, K> {
    /// Creates `/run/protheap` if there is a GPU and the directory does not exist.
    pub(super) fn make_run(&mut self) {
        if self.engine.bindings().next().is_some() {
            self.run = match RunDirectory::open(&self.root) {
                Ok(run) => Some(run),
                Err(problem) => {
                    self.refuse(problem);
                    None
                }
            };
        }
    }

    /// Logs a problem and adds it to the state file, once.
    pub(super) fn refuse(&mut self, problem: Problem) {
        let known =
            |refused: &Refused| refused.path == problem.path && refused.message == problem.message;
        if !M::KEEPS || !self.refused.iter().any(known) {
            self.refused.push(log_problem(self.log, problem));
        }
    }

    /// Writes `/run/protheap`. Errors are logged, because a read-only or full `/run` must not stop
    /// the boot.
    pub(super) fn publish(&mut self) {
        // The file of the run that made the bindings has more details than this run knows.
        let is_adopted = |(_, binding): (_, &Binding)| binding.reason() == Some(Reason::Adopted);
        let is_current =
            |run: &RunDirectory| run.has_state() && self.engine.bindings().all(is_adopted);
        if !M::KEEPS && self.run.as_ref().is_none_or(is_current) {
            return;
        }
        let written_by = [self.log.program, env!("CARGO_PKG_VERSION")].join(" ");
        let file = report(&self.engine, &self.refused, written_by);
        // Serialization can fail only because of its writer, and a `String` has no errors.
        let json = serde_json::to_string(&file).unwrap_or_default();
        let json = sanitize::json(&json).into_bytes();
        if M::KEEPS {
            if self.written == json {
                return;
            }
            self.make_run();
        }
        let Some(run) = &self.run else { return };
        let problem = run.write_state(&json).and_then(|()| run.link_heaps(&file.heaps)).err();
        match &problem {
            None if M::KEEPS => self.written = json,
            Some(problem) if self.unwritten.as_ref() != Some(problem) => {
                self.log.write(&Message::Other(format_args!("{problem}")));
            }
            _ => {}
        }
        self.unwritten = problem;
    }
}
