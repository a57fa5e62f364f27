// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every boot boots: one kernel and one initrd, whatever the board.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::{self, Digest, Workspace};
use crate::generator::{self, Generated};
use crate::initrd::Archive;
use crate::kernel::{Flavor, Kernel};
use crate::toolchain::Toolchain;
use crate::{
    debian, dist, extension, host, initrd, kernel, modules, panthor, systemd, toolchain, uefi,
    userspace,
};

/// How the names of all files begin that are Protheap's, and of no others.
const OURS: [&str; 3] = ["70-protheap", "org.protheap", "protheap"];
/// Where policies are in every root.
const POLICIES: &str = "usr/lib/protheap/policies";
/// What an initrd has for scenarios alone: it is for the binder, and all else comes with the next root.
const TESTS_ALONE: [&str; 9] = [
    "etc/systemd/system/bare-root.service",
    "etc/systemd/system/initrd.target.wants/bare-root.service",
    "scenario.sh",
    "scenarios",
    "usr/bin/protheap-guest",
    "usr/bin/protheapctl",
    "usr/bin/protheapd",
    "usr/lib/firmware-debian",
    "usr/lib/panthor",
];

/// A kernel and its initrd.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// The kernel that QEMU boots.
    pub(crate) kernel: PathBuf,
    /// Its initrd.
    pub(crate) initrd: PathBuf,
    /// The disk with the root that follows the initrd, if there is one.
    pub(crate) disk: Option<PathBuf>,
    /// A second disk, which the guest writes to.
    pub(crate) output: Option<PathBuf>,
    /// Names the contents of all of them.
    pub(crate) digest: String,
}

impl Image {
    /// The same image with further files, kept beside it as `name`.
    pub(crate) fn with(&self, workspace: &Workspace, name: &str, files: Archive) -> Result<Self> {
        let mut archive =
            fs::read(&self.initrd).with_context(|| format!("reading {}", self.initrd.display()))?;
        archive.extend(files.finish());
        let initrd = workspace.checkout.join(format!("{name}.cpio"));
        cache::write(&initrd, &archive)?;
        let mut digest = Digest::new();
        digest.add(self.digest.as_bytes());
        digest.add(&archive);
        Ok(Self {
            kernel: self.kernel.clone(),
            initrd,
            disk: self.disk.clone(),
            output: self.output.clone(),
            digest: digest.hex(),
        })
    }
}

/// What is built for the guest, whoever its init is.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) tools: Toolchain,
    pub(crate) kernel: Kernel,
    pub(crate) modules: Vec<PathBuf>,
    /// Builds of panthor beside the kernel's own, by name.
    pub(crate) panthors: Vec<(&'static str, PathBuf)>,
    pub(crate) programs: Vec<PathBuf>,
}

impl Parts {
    /// Builds what changed in this checkout.
    fn prepare(workspace: &Workspace, flavor: Flavor, packages: &[&str]) -> Result<Self> {
        host::prepare(workspace, &[flavor.packages(), packages].concat())?;
        let tools = toolchain::prepare(workspace)?;
        let kernel = kernel::prepare(workspace, &tools, flavor)?;
        let modules = modules::prepare(workspace, &tools, &kernel)?;
        let panthors = panthor::prepare(workspace, &tools, &kernel)?;
        let programs = userspace::prepare(workspace, &tools)?;
        fs::metadata(&kernel.image)
            .with_context(|| format!("looking for {}", kernel.image.display()))?;
        Ok(Self { tools, kernel, modules, panthors, programs })
    }
}

/// Makes all that a boot needs from this checkout, building what changed.
pub(crate) fn prepare(workspace: &Workspace, flavor: Flavor) -> Result<Image> {
    let _lock = workspace.lock()?;
    let parts = Parts::prepare(workspace, flavor, &[])?;
    let archive = initrd::build(workspace, &parts)?;
    let mut digest = Digest::new();
    digest.add(parts.kernel.digest.as_bytes());
    digest.add(&archive);
    let digest = digest.hex();
    let initrd = keep(workspace, "initrd", &digest, "cpio", |path| cache::write(path, &archive))?;
    Ok(Image { kernel: parts.kernel.image, initrd, disk: None, output: None, digest })
}

/// The same with systemd as init, in the initrd and in a root on a disk that follows it.
pub(crate) fn prepare_systemd(workspace: &Workspace, flavor: Flavor) -> Result<Image> {
    let _lock = workspace.lock()?;
    let parts = Parts::prepare(workspace, flavor, systemd::PACKAGES)?;
    let initrd = systemd::initrd(workspace, &parts)?.finish();
    let root = systemd::root(workspace, &parts)?;
    let mut digest = Digest::new();
    digest.add(parts.kernel.digest.as_bytes());
    digest.add(&initrd);
    root.digest(&mut digest);
    let digest = digest.hex();
    let disk = keep(workspace, "systemd-root", &digest, "erofs", |path| {
        systemd::disk(workspace, &root, path)
    })?;
    let initrd =
        keep(workspace, "systemd-initrd", &digest, "cpio", |path| cache::write(path, &initrd))?;
    Ok(Image { kernel: parts.kernel.image, initrd, disk: Some(disk), output: None, digest })
}

/// What distributions' generators make of this checkout, with a kernel and an initrd to run them on.
pub(crate) fn prepare_generated(
    workspace: &Workspace,
    flavor: Flavor,
    script: &Image,
) -> Result<Generated> {
    let _lock = workspace.lock()?;
    let parts = Parts::prepare(workspace, flavor, systemd::PACKAGES)?;
    generator::prepare(workspace, &parts, script)
}

/// The disk with the root in which Protheap's packages can be installed, for the initrd of [`prepare_systemd`].
pub(crate) fn prepare_debian(workspace: &Workspace, flavor: Flavor) -> Result<PathBuf> {
    let debs = dist::deb::build(workspace)?;
    let _lock = workspace.lock()?;
    let parts = Parts::prepare(workspace, flavor, systemd::PACKAGES)?;
    let root = debian::root(workspace, &parts, &debs)?;
    let mut digest = Digest::new();
    root.digest(&mut digest);
    keep(workspace, "debian-root", &digest.hex(), "erofs", |path| {
        systemd::disk(workspace, &root, path)
    })
}

/// What a unified kernel image is made of, and the root that follows its initrd.
#[derive(Debug, Clone)]
pub(crate) struct Pieces {
    pub(crate) kernel: PathBuf,
    /// `uname -r`.
    pub(crate) release: String,
    /// All but the policies.
    pub(crate) initrd: Archive,
    pub(crate) policies: Archive,
    /// The root that follows.
    pub(crate) root: Archive,
}

impl Pieces {
    /// The same without anything of Protheap's, to compare with.
    pub(crate) fn without_protheap(self) -> Self {
        let is_ours = |name: &str| {
            name != "protheap-guest" && OURS.iter().any(|prefix| name.starts_with(prefix))
        };
        let others = |path: &str| !path.split('/').any(is_ours);
        Self {
            initrd: self.initrd.only(&others),
            policies: Archive::default(),
            root: self.root.only(&others),
            ..self
        }
    }
}

/// Makes them from this checkout, building what changed. `more` adds to the root.
pub(crate) fn pieces(
    workspace: &Workspace,
    more: impl FnOnce(&Parts, &mut Archive) -> Result<()>,
) -> Result<Pieces> {
    let _lock = workspace.lock()?;
    let packages = [systemd::PACKAGES, uefi::PACKAGES, extension::PACKAGES].concat();
    let parts = Parts::prepare(workspace, Flavor::Plain, &packages)?;
    let (policies, initrd) = systemd::initrd(workspace, &parts)?.split(POLICIES);
    let initrd = initrd.without(&TESTS_ALONE);
    let mut root = systemd::root(workspace, &parts)?;
    more(&parts, &mut root)?;
    Ok(Pieces { kernel: parts.kernel.image, release: parts.kernel.release, initrd, policies, root })
}

/// Makes a file that is named by its contents, unless it is there: a machine that runs keeps the one that it was
/// started with. Older ones go.
pub(crate) fn keep(
    workspace: &Workspace,
    kind: &str,
    digest: &str,
    extension: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let dir = workspace.checkout.join(kind);
    let path = dir.join(format!("{digest}.{extension}"));
    if !path.is_file() {
        cache::remove_dir(&dir)?;
        cache::create_dir(&dir)?;
        make(&path)?;
    }
    Ok(path)
}
