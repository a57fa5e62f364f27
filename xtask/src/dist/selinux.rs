// SPDX-License-Identifier: MIT OR Apache-2.0
//! The SELinux module, compiled and linked with Debian's reference policy. The test kernel has no SELinux, so this does
//! not find permissions that the module lacks.

use std::process::Command;

use anyhow::Result;

use crate::apt::{self, Client};
use crate::cache::{self, Digest, Workspace};
use crate::host;
use crate::progress::{Step, output};

/// Host packages that compile modules.
pub(crate) const PACKAGES: [&str; 3] = ["bzip2", "selinux-policy-dev", "semodule-utils"];
/// Directory of the policy when it is installed; here it is only unpacked.
const POLICY: &str = "selinux-policy-default";
const MODULES: &str = "usr/share/selinux/default";
/// Compiled modules.
const COMPILED: [&str; 2] = ["protheap.pp", "probe.pp"];
/// A module that uses the interfaces.
const PROBE: &str = "policy_module(probe, 1.0.0)
gen_require(`
	type user_t;
	role user_r;
')
protheap_read_runtime_files(user_t)
protheap_dbus_chat(user_t)
protheap_use_fds(user_t)
protheap_admin(user_t, user_r)
";

/// Checks the module, unless its inputs are unchanged since it passed.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let _lock = workspace.lock()?;
    host::prepare(workspace, &PACKAGES)?;
    let sources = cache::files(&workspace.root.join("packaging/selinux"))?;
    let debian = host::debian()?;
    let mut digest = Digest::new();
    digest.add(debian.codename.as_bytes());
    digest.add(PROBE.as_bytes());
    digest.add_files(&sources)?;
    let digest = digest.hex();
    let dir = workspace.checkout.join("selinux");
    let stamp = dir.join("complete");
    if cache::read(&stamp).is_ok_and(|stamped| stamped == digest) {
        return Ok(());
    }

    cache::remove_dir(&dir)?;
    for source in &sources {
        let content = cache::bytes(source)?;
        cache::write(&dir.join(source.file_name().unwrap_or_default()), content)?;
    }
    for (name, content) in [("probe.te", PROBE), ("probe.if", ""), ("probe.fc", "")] {
        cache::write(&dir.join(name), content)?;
    }
    let mut make = Command::new("make");
    make.arg("-C").arg(&dir).args(["-f", "/usr/share/selinux/devel/Makefile"]).args(COMPILED);
    Step::new("compiling the SELinux module", 2).run(make, &workspace.log("selinux-make"))?;

    let client = Client::open(workspace, &debian.codename, "main", debian.arch)?;
    let policy = dir.join("policy");
    apt::unpack(&client.download(workspace, POLICY)?, &policy)?;
    let modules = policy.join(MODULES);
    let with = |extension: &str| -> Result<Vec<_>> {
        let mut files = cache::files(&modules)?;
        files.retain(|file| file.extension().is_some_and(|found| found == extension));
        Ok(files)
    };
    let mut bunzip2 = Command::new("bunzip2");
    bunzip2.args(with("bz2")?);
    Step::new("unpacking the reference policy", 2)
        .run(bunzip2, &workspace.log("selinux-unpack"))?;
    let base = modules.join("base.pp");
    let linked = dir.join("linked.pp");
    let mut link = Command::new("semodule_link");
    link.arg("-o").arg(&linked).arg(&base);
    link.args(with("pp")?.iter().filter(|module| **module != base));
    link.args(COMPILED.map(|module| dir.join(module)));
    Step::new("linking it with the reference policy", 10)
        .run(link, &workspace.log("selinux-link"))?;
    // The policy has rules for permissions that must never be given.
    let whole = dir.join("whole");
    let mut expand = Command::new("semodule_expand");
    expand.args([&linked, &whole]);
    Step::new("checking the policy as a whole", 10)
        .run(expand, &workspace.log("selinux-expand"))?;
    // It also lists the types that files can have.
    let contexts = dir.join("contexts");
    let mut unpack = Command::new("semodule_unpackage");
    output(unpack.arg(dir.join("protheap.pp")).arg(dir.join("protheap.mod")).arg(&contexts))?;
    output(Command::new("/sbin/setfiles").arg("-c").args([&whole, &contexts]))?;
    cache::write(&stamp, digest)
}
