// SPDX-License-Identifier: MIT OR Apache-2.0

//! Firmware images that the GPU driver will not find.

use std::collections::BTreeMap;

use protheap_board::kernel::has_module;
use protheap_board::{firmware, kmsg};
use protheap_core::facts::Gpu;
use protheap_policy::name::DeviceName;

use super::options::off;
use super::{Found, Obstacle, Situation};
use crate::config::{self, Choice, Config};

/// Exists in an initrd (`os-release(5)`).
const INITRD: &str = "etc/initrd-release";
const PACKAGE: &str = "install linux-firmware's image (Debian: firmware-misc-nonfree)";

/// Adds the images that are missing for GPUs without a driver. A bound driver has found its image.
pub(super) fn find(at: &Situation<'_>, found: &mut Found) {
    if at.is_foreign() || at.machine.facts.gpus.values().all(|gpu| gpu.driver.is_some()) {
        return;
    }
    let (root, release) = (&at.machine.root, &at.machine.facts.kernel.release);
    let is_initrd = root.read(INITRD, 64 << 10, &mut Vec::new()).is_some();
    let has_driver = ["panthor", "tyr"].iter().any(|driver| {
        has_module(root, release, driver, &mut Vec::new())
            || root.is_directory(&format!("sys/bus/platform/drivers/{driver}"))
    });
    // The GPU driver of the real root finds the images of the real root.
    if is_initrd && !has_driver {
        return;
    }
    let images = Images {
        present: firmware::present(root, release, &mut Vec::new()),
        config: config::read(root, release, &mut Vec::new()),
        is_initrd,
    };
    for (device, gpu) in at.machine.facts.gpus.iter().filter(|(_, gpu)| gpu.driver.is_none()) {
        if let Some(obstacle) = images.missing(at, device, gpu) {
            found.push(obstacle);
        }
    }
}

/// The images of the root.
struct Images {
    /// Paths by name, such as `arch10.8`.
    present: BTreeMap<String, String>,
    config: Option<Config>,
    is_initrd: bool,
}

impl Images {
    fn missing(&self, at: &Situation<'_>, device: &DeviceName, gpu: &Gpu) -> Option<Obstacle> {
        let policy = at.machine.policy.gpu(device, &gpu.compatible);
        let failed = kmsg::missing_firmware(&at.machine.root, device.as_str());
        let failed = failed.as_deref().and_then(name);
        let wanted = failed.or(policy.as_ref().and_then(|policy| policy.firmware()));
        let new = |what, message, next: &str| {
            Some(Obstacle { what, gpu: Some(device.to_string()), message, next: next.to_owned() })
        };
        let path = match wanted {
            Some(name) => self.present.get(name),
            None => self.present.values().next(),
        };
        let file = format!("arm/mali/{}/mali_csffw.bin", wanted.unwrap_or("*"));
        if self.config.as_ref().is_some_and(|config| config.has_firmware(&file)) {
            return None;
        }
        let probe = "the probe of panthor will fail with error -2";
        match path {
            None if self.is_initrd => new(
                "firmware-not-in-initrd",
                format!("the initrd has the GPU driver, but not {file}: {probe}"),
                "add the image to the initrd, or leave the GPU driver out of it",
            ),
            None => {
                let none = if wanted.is_some() { "is in no" } else { "exists in no" };
                let message = format!("{file} {none} firmware directory of this root: {probe}");
                new("firmware-missing", message, PACKAGE)
            }
            Some(path) if failed.is_some() => new(
                "firmware-not-in-initrd",
                format!(
                    "the kernel did not find {file} when the GPU driver probed, although it is at {}: \
                     the initrd has the driver without the image",
                    at.machine.root.shown(path)
                ),
                "add the image to the initrd (dracut: install_items; mkinitcpio: FILES), or leave the \
                 GPU driver out of it, and reboot",
            ),
            Some(path) => self.compression(path, device),
        }
    }

    /// Returns the option that the kernel lacks to load a compressed image.
    fn compression(&self, path: &str, device: &DeviceName) -> Option<Obstacle> {
        let option = match path.rsplit('.').next() {
            Some("xz") => "CONFIG_FW_LOADER_COMPRESS_XZ",
            Some("zst") => "CONFIG_FW_LOADER_COMPRESS_ZSTD",
            _ => return None,
        };
        let config = self.config.as_ref().filter(|config| config.choice(option) == Choice::No)?;
        let why = format!("it cannot load /{path}");
        Some(Obstacle { gpu: Some(device.to_string()), ..off(config, &[option], &why) })
    }
}

/// Returns the name of the image at `arm/mali/NAME/mali_csffw.bin`.
fn name(file: &str) -> Option<&str> {
    file.strip_prefix("arm/mali/")?.strip_suffix("/mali_csffw.bin")
}
