// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trusted execution environments of virtual machines: the stand-in, and real ones.

use std::fmt;

use anyhow::{Result, bail};

/// Provider of a virtual machine's protected heaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tee {
    /// `simtee.ko`, a stand-in that can be late, die and lie on request.
    Sim,
    /// OP-TEE with protected memory in the boards' carve-out (`CFG_TEE_SDP_MEM_BASE`).
    Static,
    /// OP-TEE that borrows 1 MiB of Linux's memory, which is its default (`CFG_CORE_DYN_PROTMEM`).
    Dynamic,
    /// OP-TEE that borrows 8 MiB.
    Dynamic8m,
    /// OP-TEE of Debian's newest package, which has no protected memory.
    None,
    /// OP-TEE of Debian 13's package, which is older than protected memory.
    Old,
    /// OP-TEE that Linux calls by FF-A instead of SMC, with a dynamic pool of 1 MiB.
    Ffa,
    /// OP-TEE built from the source tree in `PROTHEAP_OPTEE_SRC`, with a dynamic pool of its default size.
    Own,
}

impl Tee {
    /// Real ones, in the order of the matrix.
    pub(crate) const REAL: [Self; 7] =
        [Self::Old, Self::None, Self::Dynamic, Self::Dynamic8m, Self::Static, Self::Ffa, Self::Own];

    /// Returns its name in a scenario's head.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sim => "sim",
            Self::Static => "static",
            Self::Dynamic => "dynamic",
            Self::Dynamic8m => "dynamic-8m",
            Self::None => "none",
            Self::Old => "old",
            Self::Ffa => "ffa",
            Self::Own => "own",
        }
    }

    /// Returns the one of that name.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        let all = [&[Self::Sim][..], &Self::REAL].concat();
        match all.iter().find(|tee| tee.name() == name) {
            Some(tee) => Ok(*tee),
            None => {
                let names: Vec<_> = all.iter().map(|tee| tee.name()).collect();
                bail!("`{name}` is not one of {}", names.join(", "))
            }
        }
    }

    /// Returns how Linux calls it.
    pub(crate) fn abi(self) -> &'static str {
        if self == Self::Ffa { "ffa" } else { "smc" }
    }

    /// Returns words of the kernel's command line for a guest with it, whose init is a script. That guest does not have
    /// the module of the others, which has the same alias.
    pub(crate) fn words(self) -> String {
        let other = if self == Self::Sim { "optee,ffa-module" } else { "simtee" };
        format!("xtask.tee={self} xtask.without={other}")
    }
}

impl fmt::Display for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tee_name_is_parsed() {
        for tee in Tee::REAL {
            assert_eq!(Tee::parse(tee.name()).unwrap(), tee);
        }
        assert_eq!(Tee::parse("sim").unwrap(), Tee::Sim);
        assert!(Tee::parse("trusty").is_err());
    }
}
