// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask dist`: what is handed to distributions, and to those who take it from them. `packaging/` is what it is
//! made by.

pub(crate) mod arch;
pub(crate) mod deb;
pub(crate) mod dkms;
mod initrds;
mod layout;
pub(crate) mod lists;
pub(crate) mod offline;
pub(crate) mod reproducible;
pub(crate) mod rpm;
pub(crate) mod sbom;
pub(crate) mod selinux;
pub(crate) mod source;
mod vendored;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use crate::cache::{self, Workspace};
use crate::uki;

/// What to make.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The source, and the crates that it is built of, as two archives
    Source(To),
    /// Lists of what dracut, initramfs-tools and mkosi put into initrds
    Initrds(To),
    /// What the programs are made of, as a CycloneDX bill of materials
    Sbom(To),
    /// One signed unified kernel image for the demonstration's boards
    Uki(uki::Args),
    /// Debian's packages for arm64
    Deb(To),
    /// Packages for Fedora and its relatives
    Rpm(To),
    /// Packages for Arch Linux
    Arch(To),
    /// Nothing that is kept: looks at what is made, as `cargo xtask test` does
    Check {
        /// What to look at
        what: Check,
    },
}

/// What can be looked at.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Check {
    Deb,
    Rpm,
    Arch,
    Dkms,
    Reproducible,
}

impl Check {
    fn run(self, workspace: &Workspace) -> Result<()> {
        match self {
            Self::Deb => deb::check(workspace),
            Self::Rpm => rpm::check(workspace),
            Self::Arch => arch::check(workspace),
            Self::Dkms => dkms::check(workspace),
            Self::Reproducible => reproducible::check(workspace),
        }
    }
}

/// Where to write.
#[derive(Debug, ClapArgs)]
struct To {
    /// Directory that is written to
    #[arg(default_value = "target/dist")]
    directory: PathBuf,
}

impl To {
    /// The directory, which is there.
    fn open(&self) -> Result<PathBuf> {
        let directory = std::path::absolute(&self.directory).context("finding the directory")?;
        cache::create_dir(&directory)?;
        Ok(directory)
    }
}

/// Makes it.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<bool> {
    let made = match &args.what {
        What::Sbom(to) => vec![sbom::write(workspace, &to.open()?)?],
        What::Source(to) => source::archives(workspace, &to.open()?)?,
        What::Uki(args) => vec![uki::write(workspace, args)?],
        What::Initrds(to) => lists::write(workspace, &to.open()?)?,
        What::Deb(to) => deb::write(workspace, &to.open()?)?,
        What::Rpm(to) => rpm::write(workspace, &to.open()?)?,
        What::Arch(to) => arch::write(workspace, &to.open()?)?,
        What::Check { what } => what.run(workspace).map(|()| Vec::new())?,
    };
    for path in made {
        println!("wrote {}", path.display());
    }
    Ok(true)
}
