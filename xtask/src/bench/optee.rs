// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cost of a binding on real OP-TEE.

use anyhow::Result;

use super::figure::{Limit, Measure, Unit};
use super::guest::{Guest, Script};
use crate::optee;
use crate::tee::Tee;

/// Names of the measurements on one OP-TEE.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    held: &'static str,
    pool: &'static str,
    demand: &'static str,
    memory: &'static str,
}

/// OP-TEEs, and the names of their measurements.
pub(super) const ON: [(Tee, Names); 3] = [
    (
        Tee::Static,
        Names {
            held: "hold until bound, static",
            pool: "first allocation, static, against a further one",
            demand: "first group on demand, static, against a further one",
            memory: "memory of the kernel that a binding takes, static",
        },
    ),
    (
        Tee::Dynamic,
        Names {
            held: "hold until bound, dynamic of 1 MiB",
            pool: "first allocation, dynamic of 1 MiB, against a further one",
            demand: "first group on demand, dynamic of 1 MiB, against a further one",
            memory: "memory of the kernel that a binding takes, dynamic of 1 MiB",
        },
    ),
    (
        Tee::Dynamic8m,
        Names {
            held: "hold until bound, dynamic of 8 MiB",
            pool: "first allocation, dynamic of 8 MiB, against a further one",
            demand: "first group on demand, dynamic of 8 MiB, against a further one",
            memory: "memory of the kernel that a binding takes, dynamic of 8 MiB",
        },
    ),
];

/// Measures on that OP-TEE.
pub(super) fn measure(
    guest: &Guest<'_>,
    tee: Tee,
    names: Names,
    report: &mut dyn FnMut(Measure),
) -> Result<()> {
    let firmware = optee::prepare(guest.workspace, tee)?;
    let script = Script { firmware: Some(&firmware), ..Script::new("optee", &guest.modelled) };
    let said = guest.boot(&script)?;
    let time = |name, shown| said.figure(name, shown, Unit::Nanoseconds);
    report(Measure::value(names.held, time("held", "hold to commit")?, Limit::None));

    let (first, next) =
        (time("first", "no group has a buffer")?, time("next", "another group has one")?);
    let ratio = first.median / next.median;
    report(Measure::ratio(names.pool, vec![first, next], ratio, Limit::None));

    let (first, next) =
        (time("demanded", "program that makes a group, on demand")?, time("bound", "while bound")?);
    let ratio = first.median / next.median;
    report(Measure::ratio(names.demand, vec![first, next], ratio, Limit::None));

    let free = |name, shown| said.figure(name, shown, Unit::Kibibytes);
    let before = free("cma-before", "CMA free, before")?;
    let during = free("cma-during", "CMA free, during")?;
    let after = free("cma-after", "CMA free, after")?;
    let taken = before.median - during.median;
    let figures = vec![before, during, after];
    report(Measure::new(names.memory, figures, taken, Unit::Kibibytes, Limit::None));
    Ok(())
}
