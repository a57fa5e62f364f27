// SPDX-License-Identifier: MIT OR Apache-2.0
//! The images that are booted: one kernel and one initrd for all boards.

use std::path::{Path, PathBuf};

use anyhow::Result;
use fs_err as fs;

use crate::archive::Archive;
use crate::cache::{self, Digest, Workspace};
use crate::generator::{self, Generated};
use crate::kernel::{Flavor, Linux};
use crate::parts::Parts;
use crate::userspace::{DEMO, PROGRAMS};
use crate::vm::Image;
use crate::{
    debian, extension, host, initrd, kernel, stock, systemd, toolchain, uefi, userspace, variants,
};

/// Prefixes of the names of Protheap's files, and of no others.
const OURS: [&str; 4] = ["70-protheap", "99-zz-protheap", "org.protheap", "protheap"];
/// Directory of the policies in every root.
const POLICIES: &str = "usr/lib/protheap/policies";
/// Files of an initrd that only scenarios need: the initrd is for the binder, and the next root has the rest.
const TESTS_ALONE: [&str; 8] = [
    "etc/systemd/system/bare-root.service",
    "etc/systemd/system/initrd.target.wants/bare-root.service",
    "scenario.sh",
    "scenarios",
    "usr/bin/protheap-guest",
    "usr/bin/protheapctl",
    "usr/bin/protheapd",
    "usr/lib/firmware-debian",
];

/// Makes the image whose init is a script, building what changed in this checkout.
pub(crate) fn prepare(workspace: &Workspace, flavor: Flavor) -> Result<Image> {
    script(workspace, flavor, "initrd", &PROGRAMS)
}

/// Makes the same image with only the programs that the demonstration runs.
pub(crate) fn prepare_demo(workspace: &Workspace) -> Result<Image> {
    script(workspace, Flavor::Plain, "demo-initrd", &DEMO)
}

/// Makes an image whose init is a script, kept as `kind`.
fn script(workspace: &Workspace, flavor: Flavor, kind: &str, programs: &[&str]) -> Result<Image> {
    let _lock = workspace.lock()?;
    let parts = Parts::prepare(workspace, flavor, &[], programs)?;
    let archive = initrd::build(workspace, &parts)?;
    let (digest, inputs) = digests(&parts.kernel.digest, &[&archive]);
    let initrd =
        keep(workspace, kind, &digest, "cpio", |path| cache::write(path, archive.finish()))?;
    Ok(Image { kernel: parts.kernel.image, initrd, disk: None, output: None, digest, inputs })
}

/// Makes the image for the stand-in with systemd as init, in the initrd and in a root on a disk that follows it.
pub(crate) fn prepare_systemd(workspace: &Workspace, flavor: Flavor) -> Result<Image> {
    with_systemd(workspace, flavor, "systemd", systemd::OPTEE, |parts, root| {
        let player = userspace::player(workspace, &parts.tools)?;
        root.file("usr/bin/player", 0o755, &cache::bytes(&player)?);
        Ok(())
    })
}

/// Makes the image with systemd for a real OP-TEE.
pub(crate) fn prepare_systemd_optee(workspace: &Workspace, flavor: Flavor) -> Result<Image> {
    with_systemd(workspace, flavor, "systemd-optee", systemd::STAND_IN, |_, _| Ok(()))
}

/// Makes the image with systemd for the stand-in, with only the programs that the demonstration runs.
pub(crate) fn prepare_systemd_demo(workspace: &Workspace) -> Result<Image> {
    with_systemd(workspace, Flavor::Plain, "systemd", systemd::OPTEE, |_, _| Ok(()))
}

/// Makes an image with systemd, kept as `kind`, without the modules named in `without`. `more` adds to its root.
fn with_systemd(
    workspace: &Workspace,
    flavor: Flavor,
    kind: &str,
    without: &[&str],
    more: impl FnOnce(&Parts, &mut Archive) -> Result<()>,
) -> Result<Image> {
    let _lock = workspace.lock()?;
    let parts = Parts::prepare(workspace, flavor, systemd::PACKAGES, &PROGRAMS)?;
    let initrd = systemd::initrd(workspace, &parts, without)?;
    let mut root = systemd::root(workspace, &parts, without)?;
    more(&parts, &mut root)?;
    let (digest, inputs) = digests(&parts.kernel.digest, &[&initrd, &root]);
    let disk = keep(workspace, &format!("{kind}-root"), &digest, "erofs", |path| {
        systemd::disk(workspace, &root, path)
    })?;
    let initrd = keep(workspace, &format!("{kind}-initrd"), &digest, "cpio", |path| {
        cache::write(path, initrd.finish())
    })?;
    Ok(Image { kernel: parts.kernel.image, initrd, disk: Some(disk), output: None, digest, inputs })
}

/// Returns digests of a kernel and its archives: with the scenarios' scripts, and without them.
fn digests(kernel: &str, archives: &[&Archive]) -> (String, String) {
    let is_script = |path: &str| path.starts_with("scenarios/");
    let mut digest = Digest::new();
    digest.add(kernel.as_bytes());
    archives.iter().for_each(|archive| archive.digest_of(&mut digest, &|path| !is_script(path)));
    let inputs = digest.hex();
    archives.iter().for_each(|archive| archive.digest_of(&mut digest, &is_script));
    (digest.hex(), inputs)
}

/// Makes the image whose init is a script, with drivers built from other sources than the kernel's own.
pub(crate) fn with_variants(
    workspace: &Workspace,
    flavor: Flavor,
    script: &Image,
) -> Result<Image> {
    let _lock = workspace.lock()?;
    host::prepare(workspace, flavor.packages())?;
    let tools = toolchain::prepare(workspace)?;
    let kernel = kernel::prepare(workspace, &tools, flavor)?;
    script.with(workspace, "variants", variants::prepare(workspace, &tools, &kernel)?)
}

/// Makes the image whose init is a script, with Debian's own kernel in place of the test kernel, its modules, and the
/// programs of the demonstration.
pub(crate) fn prepare_stock(workspace: &Workspace, linux: Linux) -> Result<Image> {
    let script = prepare_demo(workspace)?;
    let _lock = workspace.lock()?;
    let stock = stock::prepare(workspace, linux)?;
    let image = script.with(workspace, "stock", stock.modules)?.and(&stock.release);
    Ok(Image { kernel: stock.image, ..image })
}

/// Makes the initrds of distributions' generators, with a kernel and an initrd to run them on.
pub(crate) fn prepare_generated(
    workspace: &Workspace,
    flavor: Flavor,
    script: &Image,
) -> Result<Generated> {
    let _lock = workspace.lock()?;
    let parts = Parts::prepare(workspace, flavor, systemd::PACKAGES, &PROGRAMS)?;
    generator::prepare(workspace, &parts, script)
}

/// Makes the image of [`prepare_systemd`] with a root in which these packages can be installed.
pub(crate) fn prepare_debian(
    workspace: &Workspace,
    flavor: Flavor,
    systemd: &Image,
    debs: &[PathBuf],
) -> Result<Image> {
    let _lock = workspace.lock()?;
    let parts = Parts::prepare(workspace, flavor, systemd::PACKAGES, &PROGRAMS)?;
    let root = debian::root(workspace, &parts, debs)?;
    let (digest, inputs) = digests(&parts.kernel.digest, &[&root]);
    let disk = keep(workspace, "debian-root", &digest, "erofs", |path| {
        systemd::disk(workspace, &root, path)
    })?;
    Ok(Image { disk: Some(disk), inputs: systemd.and(&inputs).inputs, ..systemd.and(&digest) })
}

/// Parts of a unified kernel image, and the root that follows its initrd.
#[derive(Debug, Clone)]
pub(crate) struct Pieces {
    pub(crate) kernel: PathBuf,
    /// `uname -r`.
    pub(crate) release: String,
    /// The initrd without the policies.
    pub(crate) initrd: Archive,
    pub(crate) policies: Archive,
    /// The root that follows the initrd.
    pub(crate) root: Archive,
}

impl Pieces {
    /// Removes all files of Protheap, for a comparison.
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

/// Makes them from this checkout without the modules named in `without`, building what changed. `more` adds to the
/// root.
pub(crate) fn pieces(
    workspace: &Workspace,
    without: &[&str],
    more: impl FnOnce(&Parts, &mut Archive) -> Result<()>,
) -> Result<Pieces> {
    let _lock = workspace.lock()?;
    let packages = [systemd::PACKAGES, uefi::PACKAGES, extension::PACKAGES].concat();
    let parts = Parts::prepare(workspace, Flavor::Plain, &packages, &PROGRAMS)?;
    let (policies, initrd) = systemd::initrd(workspace, &parts, without)?.split(POLICIES);
    let initrd = initrd.without(&TESTS_ALONE);
    let mut root = systemd::root(workspace, &parts, without)?;
    more(&parts, &mut root)?;
    Ok(Pieces { kernel: parts.kernel.image, release: parts.kernel.release, initrd, policies, root })
}

/// Number of images of each kind that are kept: this or another xtask may still start machines with them.
const KEPT: usize = 3;

/// Makes a file that is named by a digest of its contents, unless it exists. Removes the oldest ones.
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
        cache::create_dir(&dir)?;
        let mut others = cache::files(&dir)?;
        others.sort_by_key(|path| fs::metadata(path).and_then(|file| file.modified()).ok());
        others.truncate(others.len().saturating_sub(KEPT - 1));
        for old in others {
            fs::remove_file(&old)?;
        }
        let part = dir.join("part");
        make(&part)?;
        fs::rename(&part, &path)?;
    }
    Ok(path)
}
