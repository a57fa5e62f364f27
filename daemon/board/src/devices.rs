// SPDX-License-Identifier: MIT OR Apache-2.0

//! Finds the GPUs and the heap providers: the devices whose drivers register heaps.

use std::collections::BTreeMap;

use protheap_core::facts::{Failure, Gpu, Provider, Tee};
use protheap_policy::name::DeviceName;
use rustix::fs::OFlags;

use crate::root::Root;
use crate::uevents::Event;
use crate::{Problem, aliases, kernel, kmsg, platform, probes, tee};

const PLATFORM: &str = "sys/bus/platform/devices";
const FFA: &str = "sys/bus/arm_ffa/devices";
const FFA_DRIVERS: &str = "sys/bus/arm_ffa/drivers";

/// Compatible strings of Mali CSF GPUs, as matched by the drivers panthor and Tyr.
pub const GPUS: [&str; 3] =
    ["arm,mali-valhall-csf", "rockchip,rk3588-mali", "mediatek,mt8196-mali"];
/// Compatible string of OP-TEE's node in the device tree.
pub const OPTEE: &str = "linaro,optee-tz";
/// UUID of OP-TEE's partition on the FF-A bus, used where OP-TEE has no device-tree node.
const OPTEE_FFA: &str = "486178e0-e7f8-11e3-bc5e-0002a5d5c51b";
/// UUID that any FF-A 1.0 partition shows until its driver is registered
/// (drivers/firmware/arm_ffa).
const NO_UUID: &str = "00000000-0000-0000-0000-000000000000";
/// Module name of OP-TEE's driver. It has no alias for the FF-A bus (Linux 7.3, drivers/tee/optee).
const OPTEE_MODULE: &str = "optee";

/// GPUs and heap providers of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    /// The Mali CSF GPUs.
    pub gpus: BTreeMap<DeviceName, Gpu>,
    /// OP-TEE and the devices with a requested compatible string.
    pub providers: BTreeMap<DeviceName, Provider>,
}

/// Scans the platform bus and the FF-A bus.
///
/// A board has hundreds of platform devices. The device-tree bindings fix the names of the two
/// relevant nodes (`gpu@…` in arm,mali-valhall-csf.yaml, `/firmware/optee` in linaro,optee-tz.yaml)
/// and thereby the names of their devices. All devices are read only if no GPU has such a name, or
/// if `providers` is not empty.
///
/// `tees` are the TEEs that had registered before the scan: OP-TEE's driver has probed once its TEE
/// is registered. Devices with one of the compatible strings in `providers` are providers too. The
/// modules of the kernel `release` are searched for a driver only for providers that have none.
pub fn scan(
    root: &Root,
    release: &str,
    tees: &[Tee],
    providers: &[&str],
    problems: &mut Vec<Problem>,
) -> Devices {
    let has_optee = tees.iter().any(Tee::makes_heaps);
    let mut devices = Devices::default();
    let by_name = |name: &str| name.ends_with(".gpu") || name.starts_with("firmware:");
    if providers.is_empty() {
        scan_platform(root, &by_name, has_optee, providers, &mut devices, problems);
    }
    if devices.gpus.is_empty() {
        let others = |name: &str| !providers.is_empty() || !by_name(name);
        scan_platform(root, &others, has_optee, providers, &mut devices, problems);
    }
    root.each(FFA, problems, &mut |name, problems| {
        let uuid = root.text(&format!("{FFA}/{name}/uuid"), problems).unwrap_or_default();
        if may_be_optee(&uuid)
            && let Some(device) = named(root, FFA, name, problems)
        {
            devices.providers.insert(device, driven(root, FFA, name, Vec::new(), has_optee));
        }
    });
    look_up_drivers(root, release, &mut devices.providers, problems);
    devices
}

/// Returns whether the platform bus has a Mali CSF GPU. Reads only that bus.
pub fn has_gpu(root: &Root) -> bool {
    let mut devices = Devices::default();
    let named_gpu = |name: &str| name.ends_with(".gpu");
    scan_platform(root, &named_gpu, false, &[], &mut devices, &mut Vec::new());
    if devices.gpus.is_empty() {
        scan_platform(root, &|name| !named_gpu(name), false, &[], &mut devices, &mut Vec::new());
    }
    !devices.gpus.is_empty()
}

/// Scans the platform devices whose names match `wanted`.
fn scan_platform(
    root: &Root,
    wanted: &dyn Fn(&str) -> bool,
    has_optee: bool,
    providers: &[&str],
    devices: &mut Devices,
    problems: &mut Vec<Problem>,
) {
    root.each(PLATFORM, problems, &mut |name, problems| {
        if !wanted(name) {
            return;
        }
        let path = format!("{PLATFORM}/{name}/of_node/compatible");
        let mut buffer = [0; 4096];
        let Some(bytes) = root.attribute(&path, &mut buffer, problems) else {
            return;
        };
        let any = |wanted: &[&str]| {
            bytes.split(|byte| *byte == 0).any(|one| wanted.iter().any(|w| w.as_bytes() == one))
        };
        let gpu = any(&GPUS);
        if !gpu && !any(&[OPTEE]) && !any(providers) {
            return;
        }
        let Some(device) = named(root, PLATFORM, name, problems) else {
            return;
        };
        let (compatible, bad) = platform::compatible(bytes);
        platform::report(root, &path, &bad, problems);
        let has_tee = gpu || !is_optee(&compatible) || has_optee;
        if gpu {
            let driver = gpu_driver(root, &device);
            devices.gpus.insert(device, Gpu { compatible, driver, ..Gpu::default() });
        } else {
            devices.providers.insert(device, driven(root, PLATFORM, name, compatible, has_tee));
        }
    });
}

/// Returns whether a partition with this UUID is OP-TEE, or an FF-A 1.0 partition that may be
/// OP-TEE.
fn may_be_optee(uuid: &str) -> bool {
    uuid.eq_ignore_ascii_case(OPTEE_FFA) || uuid == NO_UUID
}

/// Returns whether the device of `event` could be a GPU or a provider, so that a [`scan`] is
/// necessary.
pub fn may_matter(event: &impl Event, providers: &[&str]) -> bool {
    let compatible = |index| event.property(&format!("OF_COMPATIBLE_{index}"));
    match event.subsystem() {
        // `arm_ffa:PARTITION:UUID`
        "arm_ffa" => event
            .property("MODALIAS")
            .and_then(|alias| alias.rsplit(':').next())
            .is_some_and(may_be_optee),
        _ => (0..)
            .map_while(compatible)
            .any(|one| GPUS.contains(&one) || one == OPTEE || providers.contains(&one)),
    }
}

/// Re-reads the driver of a GPU, which `bind` and `unbind` events change.
pub fn gpu_driver(root: &Root, gpu: &DeviceName) -> Option<String> {
    let (driver, running) = driver(root, PLATFORM, gpu.as_str(), true);
    driver.filter(|_| !running)
}

/// Re-reads the probe state of a provider.
pub fn provider(root: &Root, name: &DeviceName, known: &Provider) -> Provider {
    let has_tee = !is_optee(&known.compatible)
        || tee::read(root, &mut Vec::new()).iter().any(Tee::makes_heaps);
    let bus = bus(known);
    let mut provider = driven(root, bus, name.as_str(), known.compatible.clone(), has_tee);
    // A provider that had a driver can be bound to it again.
    provider.loadable |= known.loadable || known.driver.is_some();
    for module in known.modules.iter().chain(&known.driver) {
        add(&mut provider.modules, module);
    }
    look_at_probe(root, name.as_str(), known.driver.is_some(), &mut provider);
    provider
}

/// Returns a provider with the driver that is bound to it or is probing it.
fn driven(root: &Root, bus: &str, name: &str, compatible: Vec<String>, has_tee: bool) -> Provider {
    let (driver, running) = driver(root, bus, name, has_tee);
    let modules = driver.iter().filter(|_| running).cloned().collect();
    let driver = driver.filter(|_| !running);
    Provider { compatible, driver, loadable: running, modules, probing: running, failure: None }
}

fn add(modules: &mut Vec<String>, module: &str) {
    if !modules.iter().any(|known| known == module) {
        modules.push(module.to_owned());
    }
}

/// Returns the driver that a device is linked to, and whether its probe is running.
///
/// The `driver` link exists from the start of a probe, and a probe can take seconds. A first probe
/// has succeeded once the kernel removes `waiting_for_supplier` (Documentation/ABI/testing). The
/// attribute does not exist with `fw_devlink=off` and on FF-A, and reading it would block until the
/// probe ends. OP-TEE's driver registers its heaps first and then its TEE (drivers/tee/optee),
/// which also shows when the driver has probed again after an unbind: `has_tee` is false only
/// for an OP-TEE whose TEE is not registered.
fn driver(root: &Root, bus: &str, name: &str, has_tee: bool) -> (Option<String>, bool) {
    let Some(driver) = root.link(&format!("{bus}/{name}/driver")) else {
        return (None, false);
    };
    let running = !has_tee
        || root.open_at(&format!("{bus}/{name}/waiting_for_supplier"), OFlags::PATH).is_ok();
    (Some(driver), running)
}

/// Sets `probing` or `failure` of a provider without a driver, once all drivers for it are
/// registered. `unbound` is true if the provider had a driver before.
fn look_at_probe(root: &Root, name: &str, unbound: bool, provider: &mut Provider) {
    let bus = bus(provider);
    let is_open = provider.driver.is_none() && !provider.probing && !provider.modules.is_empty();
    if !is_open || !provider.modules.iter().all(|module| probes::is_registered(root, bus, module)) {
        return;
    }
    let deferred = probes::is_deferred(root, name);
    // The link is created and removed with each probe; one may have started meanwhile.
    if deferred == Some(true) || root.link(&format!("{bus}/{name}/driver")).is_some() {
        provider.probing = true;
        return;
    }
    let logged = (!unbound).then(|| kmsg::probe_failure(root, name, &provider.modules)).flatten();
    // OP-TEE's driver defers its probe only while the kernel boots (drivers/tee/optee/smc_abi.c).
    let certain = deferred.is_some() || logged.is_some() || is_optee(&provider.compatible);
    let message = logged.unwrap_or_else(|| {
        let drivers = provider.modules.join(", ");
        match unbound {
            true => format!("driver {drivers} was unbound"),
            false if is_optee(&provider.compatible) => format!(
                "driver {drivers} is registered but not bound to it: it rejected the firmware, or \
                 was unbound; see `dmesg`"
            ),
            false => format!("driver {drivers} is registered but not bound to it; see `dmesg`"),
        }
    });
    provider.failure = Some(Failure { message, certain });
}

/// Returns whether a provider is OP-TEE. Providers on FF-A are, and have no compatible strings.
fn is_optee(compatible: &[String]) -> bool {
    compatible.is_empty() || compatible.iter().any(|one| one == OPTEE)
}

/// Returns the bus of a provider. Providers on FF-A have no device-tree node.
fn bus(provider: &Provider) -> &'static str {
    if provider.compatible.is_empty() { FFA } else { PLATFORM }
}

/// Finds the drivers of the providers that have none yet, and the probe state of those drivers.
fn look_up_drivers(
    root: &Root,
    release: &str,
    providers: &mut BTreeMap<DeviceName, Provider>,
    problems: &mut Vec<Problem>,
) {
    let mut waiting = Vec::new();
    let mut modaliases = Vec::new();
    let without = |provider: &Provider| provider.driver.is_none() && !provider.loadable;
    for (name, provider) in providers.iter_mut().filter(|(_, provider)| without(provider)) {
        let path = format!("{}/{name}/modalias", bus(provider));
        if let Some(modalias) = root.text(&path, problems) {
            waiting.push((name, provider));
            modaliases.push(modalias);
        }
    }
    if waiting.is_empty() {
        return;
    }
    let serving = aliases::serving(root, release, &modaliases, problems);
    for ((name, provider), mut modules) in waiting.into_iter().zip(serving) {
        if bus(provider) == FFA && modules.is_empty() && has_optee_driver(root, release, problems) {
            modules.push(OPTEE_MODULE.to_owned());
        }
        provider.loadable = !modules.is_empty();
        provider.modules = modules;
        look_at_probe(root, name.as_str(), false, provider);
    }
}

/// Returns whether OP-TEE's driver is registered on the FF-A bus or is among the modules of the
/// kernel `release`.
fn has_optee_driver(root: &Root, release: &str, problems: &mut Vec<Problem>) -> bool {
    root.is_directory(&format!("{FFA_DRIVERS}/{OPTEE_MODULE}"))
        || kernel::has_module(root, release, OPTEE_MODULE, problems)
}

fn named(root: &Root, bus: &str, name: &str, problems: &mut Vec<Problem>) -> Option<DeviceName> {
    match DeviceName::new(name) {
        Ok(name) => Some(name),
        Err(e) => {
            let path = root.shown(&format!("{bus}/{name}"));
            problems.push(Problem::new(path, format!("the device name {e}, skipping it")));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    fn device(tree: &Tree, name: &str, compatible: &[u8], driver: Option<&str>) {
        tree.link(&format!("../../../devices/platform/{name}"), &format!("{PLATFORM}/{name}"));
        let node = name.replace(['.', ':'], "-");
        let at = format!("sys/devices/platform/{name}");
        tree.link(&format!("../../../firmware/devicetree/base/{node}"), &format!("{at}/of_node"));
        tree.file(&format!("sys/firmware/devicetree/base/{node}/compatible"), compatible);
        let first = String::from_utf8_lossy(compatible).replace('\0', "C");
        let modalias = format!("of:N{node}T(null)C{}\n", first.trim_end_matches('C'));
        tree.file(&format!("{at}/modalias"), modalias);
        if let Some(driver) = driver {
            tree.link(&format!("../../../bus/platform/drivers/{driver}"), &format!("{at}/driver"));
        }
    }

    #[test]
    fn scan_finds_gpus_and_providers() {
        let tree = Tree::new();
        device(
            &tree,
            "fb000000.gpu",
            b"rockchip,rk3588-mali\0arm,mali-valhall-csf\0",
            Some("panthor"),
        );
        device(&tree, "firmware:optee", b"linaro,optee-tz\0", None);
        device(&tree, "vdec", b"acme,a9-svp\0bad/one\0", None);
        device(&tree, "serial", b"arm,pl011\0", Some("uart"));
        tree.link("../../../devices/platform/reg-dummy", &format!("{PLATFORM}/reg-dummy"));
        tree.file(&format!("{FFA}/arm-ffa-1/uuid"), OPTEE_FFA.to_uppercase() + "\n");
        tree.file(&format!("{FFA}/arm-ffa-1/modalias"), format!("arm_ffa:0001:{OPTEE_FFA}\n"));
        tree.file(&format!("{FFA}/arm-ffa-2/uuid"), "8aaaf200-2450-11e4-abe2-0002a5d5c51b\n");
        // Aliases as depmod writes them for Linux 7.3.
        tree.file(
            "lib/modules/7.3.4/modules.alias",
            "alias of:N*T*Clinaro,optee_tzC* optee\nalias of:N*T*Clinaro,optee_tz optee\n\
             alias platform:optee optee\n",
        );
        tree.file("lib/modules/7.3.4/modules.dep", "kernel/drivers/tee/optee/optee.ko:\n");

        let root = tree.root();
        let mut problems = Vec::new();
        let found = scan(&root, "7.3.4", &[], &["acme,a9-svp"], &mut problems);
        let gpu = &found.gpus[&DeviceName::new("fb000000.gpu").unwrap()];
        assert_eq!(gpu.compatible, ["rockchip,rk3588-mali", "arm,mali-valhall-csf"]);
        assert_eq!(gpu.driver.as_deref(), Some("panthor"));
        assert_eq!(found.gpus.len(), 1);
        let loadable: Vec<_> =
            found.providers.iter().map(|(name, p)| (name.as_str(), p.loadable)).collect();
        assert_eq!(loadable, [("arm-ffa-1", true), ("firmware:optee", true), ("vdec", false)]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].message.starts_with("string 2 "));

        // The driver is bound, but its probe is still running.
        let waiting = "sys/devices/platform/firmware:optee/waiting_for_supplier";
        tree.file(waiting, "0\n");
        tree.link("/sys/bus/platform/drivers/optee", "sys/devices/platform/firmware:optee/driver");
        tree.link("/sys/bus/arm_ffa/drivers/optee", &format!("{FFA}/arm-ffa-1/driver"));
        let driver_of = |found: &Devices, name: &str| {
            let name = DeviceName::new(name).unwrap();
            provider(&root, &name, &found.providers[&name])
        };
        assert!(driver_of(&found, "firmware:optee").probing);
        assert!(driver_of(&found, "arm-ffa-1").probing);
        // A running probe proves that a driver exists.
        let probing = scan(&root, "", &[], &[], &mut problems);
        assert!(!probing.providers[&DeviceName::new("firmware:optee").unwrap()].has_finished());
        std::fs::remove_file(tree.path(waiting)).unwrap();
        tree.file("sys/class/tee/tee0/implementation_id", "1\n");
        assert_eq!(driver_of(&found, "firmware:optee").driver.as_deref(), Some("optee"));
        assert_eq!(driver_of(&found, "arm-ffa-1").driver.as_deref(), Some("optee"));
        let name = DeviceName::new("fb000000.gpu").unwrap();
        assert_eq!(gpu_driver(&root, &name).as_deref(), Some("panthor"));

        // vdec is not a provider without its compatible string in `providers`.
        problems.clear();
        assert_eq!(scan(&root, "7.3.4", &[], &[], &mut problems).providers.len(), 2);
    }

    #[test]
    fn scan_finds_optee_on_ffa_by_uuid_and_its_driver_by_name() {
        let name = DeviceName::new("arm-ffa-1").unwrap();
        let scanned = |tree: &Tree| {
            let found = scan(&tree.root(), "7.3.4", &[], &[], &mut Vec::new());
            found.providers.get(&name).cloned()
        };
        for uuid in [OPTEE_FFA, NO_UUID] {
            let tree = Tree::new();
            tree.file(&format!("{FFA}/arm-ffa-1/uuid"), format!("{uuid}\n"));
            tree.file(&format!("{FFA}/arm-ffa-1/modalias"), format!("arm_ffa:8000:{uuid}\n"));
            let without = scanned(&tree).unwrap();
            assert!(without.has_finished() && !without.loadable, "no driver is installed");
            tree.file("lib/modules/7.3.4/modules.dep", "kernel/drivers/tee/optee/optee.ko.xz:\n");
            let pending = scanned(&tree).unwrap();
            assert!(pending.loadable && !pending.has_finished());
            tree.file("sys/bus/arm_ffa/drivers/optee/uevent", "");
            assert!(scanned(&tree).unwrap().failure.is_some(), "it has refused the partition");
            tree.file(&format!("{FFA}/arm-ffa-1/uuid"), "0011-22\n");
            assert_eq!(scanned(&tree), None);
        }
    }

    const DEFERRED: &str = "sys/kernel/debug/devices_deferred";

    /// Returns a tree with a device that matches two vendors' drivers and is bound to none.
    fn undriven(compatible: &[u8]) -> (Tree, DeviceName) {
        let tree = Tree::new();
        device(&tree, "svp", compatible, None);
        tree.file(
            "lib/modules/7.3.4/modules.alias",
            "alias of:N*T*Clinaro,optee-tz optee\nalias of:N*T*Cacme,svp acme_svp\n",
        );
        (tree, DeviceName::new("svp").unwrap())
    }

    fn found(tree: &Tree, name: &DeviceName) -> Provider {
        let found = scan(&tree.root(), "7.3.4", &[], &["acme,svp"], &mut Vec::new());
        found.providers[name].clone()
    }

    #[test]
    fn provider_without_driver_has_failed_once_its_driver_is_registered() {
        let (tree, name) = undriven(b"linaro,optee-tz\0");
        let pending = found(&tree, &name);
        assert!(!pending.has_finished() && !pending.probing, "its module is not loaded");
        tree.file("sys/bus/platform/drivers/optee/uevent", "");
        let failed = found(&tree, &name);
        let failure = failed.failure.clone().unwrap();
        let said = "driver optee is registered but not bound to it: it rejected the firmware";
        assert!(failure.message.starts_with(said), "{}", failure.message);
        assert!(failed.has_finished() && failure.certain);
        assert_eq!(provider(&tree.root(), &name, &pending), failed);
        // Bind the driver, then unbind it.
        tree.link("/sys/bus/platform/drivers/optee", "sys/devices/platform/svp/driver");
        let bound = Provider { driver: Some("optee".into()), ..pending };
        assert!(provider(&tree.root(), &name, &bound).probing, "without its TEE");
        std::fs::remove_file(tree.path("sys/devices/platform/svp/driver")).unwrap();
        let unbound = provider(&tree.root(), &name, &bound).failure.unwrap();
        assert_eq!(unbound.message, "driver optee was unbound");
    }

    #[test]
    fn deferred_provider_is_pending() {
        let (tree, name) = undriven(b"acme,svp\0");
        // A driver is found by its module, whatever its own name is.
        tree.link("../../acme-heap", "sys/module/acme_svp/drivers/platform:acme-heap");
        let failure = found(&tree, &name).failure.unwrap();
        assert!(!failure.certain, "nothing says that the kernel has not deferred it");
        tree.file(DEFERRED, "svp2\t\nfd000000.svp\tsupplier x not ready\nsvp\n");
        let deferred = found(&tree, &name);
        assert!(deferred.probing && !deferred.has_finished());
        tree.file(DEFERRED, "svp2\t\n");
        assert!(found(&tree, &name).failure.unwrap().certain);
    }

    #[test]
    fn provider_has_failed_if_its_built_in_driver_did_not_bind() {
        let (tree, name) = undriven(b"linaro,optee-tz\0");
        let info = b"optee.license=GPL v2\0optee.alias=of:N*T*Clinaro,optee-tz\0";
        std::fs::remove_file(tree.path("lib/modules/7.3.4/modules.alias")).unwrap();
        tree.file("lib/modules/7.3.4/modules.builtin.modinfo", info);
        assert!(!found(&tree, &name).has_finished());
        tree.file("sys/bus/platform/drivers/optee/uevent", "");
        assert!(found(&tree, &name).failure.is_some());
    }

    #[test]
    fn provider_is_pending_while_one_of_its_drivers_is_not_loaded() {
        let (tree, name) = undriven(b"acme,svp\0linaro,optee-tz\0");
        let alias = "alias of:N*T*Cacme,svpC* acme_svp\nalias of:N*T*Clinaro,optee-tz optee\n";
        tree.file("lib/modules/7.3.4/modules.alias", alias);
        tree.file("sys/bus/platform/drivers/optee/uevent", "");
        assert!(!found(&tree, &name).has_finished());
        tree.file("sys/bus/platform/drivers/acme-svp/uevent", "");
        assert!(found(&tree, &name).has_finished());
    }

    #[test]
    fn has_gpu_checks_compatible_strings_instead_of_names() {
        let tree = Tree::new();
        device(&tree, "fec00000.gpu", b"brcm,2711-v3d\0", None);
        device(&tree, "firmware:optee", b"linaro,optee-tz\0", None);
        assert!(!has_gpu(&tree.root()));
        device(&tree, "13000000.mali", b"mediatek,mt8196-mali\0arm,mali-valhall-csf\0", None);
        assert!(has_gpu(&tree.root()));
        assert!(!has_gpu(&Tree::new().root()));
    }

    #[test]
    fn scan_skips_and_reports_hostile_devices() {
        let tree = Tree::new();
        tree.link("loop", &format!("{PLATFORM}/loop"));
        let long = "x".repeat(64);
        tree.file(&format!("{PLATFORM}/{long}/of_node/compatible"), b"arm,mali-valhall-csf\0");
        tree.fifo(&format!("{PLATFORM}/fifo/of_node/compatible"));
        tree.directory(&format!("{PLATFORM}/dir/of_node/compatible"));
        tree.file(&format!("{PLATFORM}/big/of_node/compatible"), vec![b'x'; 100_000]);
        let mut problems = Vec::new();
        let found = scan(&tree.root(), "7.3.4", &[], &[], &mut problems);
        assert_eq!(found, Devices::default());
        assert_eq!(problems.len(), 4, "{problems:?}");
    }
}
