// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cost of a binding on real OP-TEE.

use anyhow::Result;

use super::figure::{Limit, Measure, Unit};
use super::guest::{Guest, Script};
use crate::optee;
use crate::tee::Tee;

/// OP-TEEs, and their names in the names of the measurements.
const ON: [(Tee, &str); 3] = [
    (Tee::Static, "static"),
    (Tee::Dynamic, "dynamic of 1 MiB"),
    (Tee::Dynamic8m, "dynamic of 8 MiB"),
];

/// Measures on each OP-TEE.
pub(super) fn measure(guest: &Guest<'_>, report: &mut dyn FnMut(Measure)) -> Result<()> {
    for (tee, pool) in ON {
        let firmware = optee::prepare(guest.workspace, tee)?;
        let script = Script { firmware: Some(&firmware), ..Script::new("optee", &guest.modelled) };
        let said = guest.boot(&script)?;
        let time = |name, shown| said.figure(name, shown, Unit::Nanoseconds);
        let what = format!("hold until bound, {pool}");
        report(Measure::value(what, time("held", "hold to commit")?, Limit::None));

        let what = format!("first allocation, {pool}, against a further one");
        let (first, next) =
            (time("first", "no group has a buffer")?, time("next", "another group has one")?);
        report(Measure::ratio(what, [first, next], Limit::None));

        let what = format!("first group on demand, {pool}, against a further one");
        let first = time("demanded", "program that makes a group, on demand")?;
        report(Measure::ratio(what, [first, time("bound", "while bound")?], Limit::None));

        let what = format!("memory of the kernel that a binding takes, {pool}");
        let free = |name, shown| said.figure(name, shown, Unit::Kibibytes);
        let before = free("cma-before", "CMA free, before")?;
        let during = free("cma-during", "CMA free, during")?;
        let after = free("cma-after", "CMA free, after")?;
        let taken = before.median - during.median;
        let figures = vec![before, during, after];
        report(Measure::new(what, figures, taken, Unit::Kibibytes, Limit::None));
    }
    Ok(())
}
