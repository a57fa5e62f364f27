// SPDX-License-Identifier: MIT OR Apache-2.0
//! Developer commands of Protheap: `cargo xtask --help`.
//!
//! From a checkout to a running board: [`host`] installs what the machine lacks, or [`container`] runs all of it in one, [`toolchain`] unpacks tools from other
//! Debian suites, [`kernel`] builds Linux, [`patches`] checks each of its patches, [`modules`], [`variants`] and [`userspace`] build what is under test, and
//! [`parts`] is all of these. [`csffw`] makes a firmware, [`initrd`] packs an [`archive`] of it, [`systemd`] does so with
//! systemd as init, [`debian`] with dpkg beside it, [`generator`] runs dracut and others, [`mod@stock`] has Debian's own
//! kernel, and [`image`] makes every image that is booted. [`board`] makes the device tree of a [`machine`], [`optee`] builds firmware with one [`tee`] or
//! another, [`vm`] boots it, and [`scenario`], [`demo`], [`mod@bench`] and [`suite`] read the guest's output. [`tested`] is
//! the result of a test.
//!
//! Without a guest: [`firmware`] and [`boards`] compare `protheapctl` with what Debian ships: firmware images, and the
//! device trees of [`dtbs`]. [`manuals`] writes the manual pages of `protheapctl` for packages. [`dist`] makes the
//! packages, by `packaging/`, [`audit`] and [`release`] check whether they may be released, with [`tools`].
#![forbid(unsafe_code)]

#[macro_use]
mod progress;

mod apparmor;
mod apt;
mod archive;
mod audit;
mod bench;
mod board;
mod boards;
mod cache;
mod container;
mod csffw;
mod debian;
mod demo;
mod dist;
mod dtbs;
mod extension;
mod firmware;
mod generator;
mod host;
mod image;
mod initrd;
mod kernel;
mod machine;
mod manuals;
mod mirrors;
mod modules;
mod optee;
mod parts;
mod patches;
mod pool;
mod release;
mod results;
mod scenario;
mod stock;
mod suite;
mod systemd;
mod tee;
mod tested;
mod toolchain;
mod tools;
mod uefi;
mod uki;
mod units;
mod userspace;
mod variants;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::cache::Workspace;
use crate::kernel::{Flavor, Linux};

/// Developer commands of Protheap.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boot a virtual board whose protected heap appears late, and show how its GPU is bound
    Demo(demo::Args),
    /// Run all tests: format, lints, unit tests, packages, and every scenario on a real kernel
    Test(suite::Args),
    /// Run the tests that need neither root, nor a virtual machine, nor a package manager
    Check,
    /// Build the test kernel and print its location
    Kernel {
        /// Build the debug kernel: KASAN, lockdep, kmemleak, KUnit, fault injection
        #[arg(long)]
        debug: bool,
        /// Build the kernel with control-flow integrity (CONFIG_CFI)
        #[arg(long, conflicts_with = "debug")]
        cfi: bool,
        /// Build the kernel of this version of Linux
        #[arg(long, value_name = "VERSION", default_value = "7.3", conflicts_with_all = ["debug", "cfi"])]
        kernel: Linux,
    },
    /// Apply each patch for the kernel, build it and check it
    Patches(patches::Args),
    /// Boot scenarios, each in its own virtual machine
    Vm(scenario::Args),
    /// Check heap selection for every device tree of Debian's arm64 kernel and write docs/boards.md
    Boards(boards::Args),
    /// Write the manual pages and completions that packages install
    Manuals(manuals::Args),
    /// Make release artifacts: source archives, vendored crates and packages
    Dist(dist::Args),
    /// Check the preconditions of a release and make its files
    Release(release::Args),
    /// Measure speed and size and compare them with their limits
    Bench(bench::Args),
}

impl Command {
    /// Returns whether the command sets up its host, which must be Debian then.
    fn needs_debian(&self) -> bool {
        !matches!(self, Self::Check | Self::Manuals(_))
    }
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one command; `false` is a failure that has already been reported.
fn run(cli: Cli) -> Result<bool> {
    let workspace = Workspace::open()?;
    if cli.command.needs_debian()
        && let Some(succeeded) = container::run(&workspace)?
    {
        return Ok(succeeded);
    }
    match cli.command {
        Command::Demo(args) => demo::run(&workspace, &args),
        Command::Test(args) => suite::run(&workspace, &args),
        Command::Check => suite::check(&workspace.without_installing()),
        Command::Kernel { debug, cfi, kernel } => {
            let flavor = Flavor::chosen(debug, cfi, kernel);
            let _lock = workspace.lock()?;
            host::prepare(&workspace, flavor.packages())?;
            let tools = toolchain::prepare(&workspace)?;
            let kernel = kernel::prepare(&workspace, &tools, flavor)?;
            println!("release {}", kernel.release);
            println!("source  {}", kernel.source.display());
            println!("build   {}", kernel.build.display());
            println!("image   {}", kernel.image.display());
            Ok(true)
        }
        Command::Patches(args) => patches::run(&workspace, &args),
        Command::Vm(args) => scenario::run(&workspace, &args),
        Command::Boards(args) => boards::run(&workspace, &args),
        Command::Manuals(args) => manuals::run(&workspace, &args),
        Command::Dist(args) => dist::run(&workspace, &args),
        Command::Release(args) => release::run(&workspace, &args),
        Command::Bench(args) => bench::run(&workspace, &args),
    }
}
