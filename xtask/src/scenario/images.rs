// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images of scenarios, each made when the first scenario needs it.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use super::boot::Run;
use super::head::{Kind, Scenario};
use crate::cache::Workspace;
use crate::kernel::Flavor;
use crate::vm::Image;
use crate::{dist, image};

/// Images of this checkout for one kernel.
#[derive(Debug)]
pub(super) struct Images<'a> {
    pub(super) workspace: &'a Workspace,
    flavor: Flavor,
    script: Mutex<Option<Image>>,
    systemd: Mutex<Option<Image>>,
}

impl<'a> Images<'a> {
    pub(super) fn new(workspace: &'a Workspace, flavor: Flavor) -> Self {
        Self { workspace, flavor, script: Mutex::default(), systemd: Mutex::default() }
    }

    /// Makes the images of a kind, and returns all boots of scenarios of that kind.
    pub(super) fn boots<'s>(&self, kind: Kind, scenarios: &[&'s Scenario]) -> Result<Vec<Run<'s>>> {
        let Self { workspace, flavor, .. } = *self;
        let script = || made(&self.script, || image::prepare(workspace, flavor));
        let systemd = || made(&self.systemd, || image::prepare_systemd(workspace, flavor));
        let mut runs = Vec::new();
        if kind == Kind::Generated {
            let (script, systemd) = (script()?, systemd()?);
            let generated = image::prepare_generated(workspace, flavor, &script)?;
            for scenario in scenarios {
                for name in &scenario.initrds {
                    let image = systemd.with_initrd(generated.image(name), &generated.digest());
                    runs.extend(Run::all(workspace, scenario, &image, Some(name))?);
                }
            }
            return Ok(runs);
        }
        let image = match kind {
            Kind::Script => script()?,
            Kind::Variants => image::with_variants(workspace, flavor, &script()?)?,
            Kind::Stock => image::prepare_stock(workspace, flavor.linux())?,
            Kind::Systemd | Kind::Generated => systemd()?,
            Kind::SystemdOptee => image::prepare_systemd_optee(workspace, flavor)?,
            Kind::Debian => {
                let debs = dist::deb::build(workspace)?;
                image::prepare_debian(workspace, flavor, &systemd()?, &debs)?
            }
        };
        say!("{}: {}", kind.name(), image.digest);
        for scenario in scenarios {
            runs.extend(Run::all(workspace, scenario, &image, None)?);
        }
        Ok(runs)
    }
}

/// Returns the image, made at the first call.
fn made(kept: &Mutex<Option<Image>>, make: impl FnOnce() -> Result<Image>) -> Result<Image> {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(image) = &*kept {
        return Ok(image.clone());
    }
    let image = make()?;
    *kept = Some(image.clone());
    Ok(image)
}
