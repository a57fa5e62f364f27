// SPDX-License-Identifier: MIT OR Apache-2.0

//! Finds the hardware behind a device node's number.
//!
//! `/sys/dev/char/<major>:<minor>` links to the node's own device below `/sys/devices`
//! (Documentation/ABI/testing/sysfs-dev). That device is the kernel's representation of a render
//! node or a video node; its parent is the hardware. The path gives the hierarchy, and the `device`
//! link must not be used (Documentation/admin-guide/sysfs-rules.rst). Between the two devices is a
//! directory named after the class, unless the node is on a bus, as media nodes are
//! (`get_device_parent()`, drivers/base/core.c).

use std::collections::BTreeMap;
use std::path::Path;

use protheap_core::share::{Device, Number};
use protheap_policy::name::{DeviceName, NameError};
use rustix::fs::{FileType, major, minor, stat};
use rustix::io::Errno;

use crate::root::Root;
use crate::{Problem, platform};

/// Reasons why the hardware behind a device node cannot be identified.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The device does not exist, or was removed.
    #[error("{0} does not exist: no character device has this number")]
    Absent(String),
    /// The device is purely virtual: no hardware is behind it.
    #[error("{0} belongs to no hardware; give the node of a device that uses the memory")]
    Virtual(String),
    /// The device tree does not describe the hardware, which may be on USB or PCI.
    #[error("{0} has no `compatible` in the device tree, so that no policy can describe it")]
    NoNode(String),
    /// The hardware's name is not valid in a policy.
    #[error("{path}: the device name {why}, so that no policy can describe it")]
    Name {
        /// The hardware's directory.
        path: String,
        /// Why the name is not valid.
        why: NameError,
    },
    /// sysfs cannot be read, or has unexpected contents.
    #[error(transparent)]
    Problem(#[from] Problem),
}

/// Returns the hardware behind a character device: its name and its `compatible` strings.
///
/// Devices above the hardware are not considered: a USB camera, which has no node in the device tree,
/// must not be mistaken for the controller that it is plugged into.
///
/// # Errors
///
/// Returns an error if the device does not exist, if the device tree does not describe its
/// hardware, or if sysfs cannot be read.
pub fn read(root: &Root, number: Number) -> Result<Device, NodeError> {
    let node = resolve(root, number)?;
    let hardware = hardware(root, &node)?;
    let (_, name) = split(hardware);
    let name =
        DeviceName::new(name).map_err(|why| NodeError::Name { path: root.shown(hardware), why })?;
    let mut problems = Vec::new();
    let mut buffer = [0; 4096];
    let path = format!("{hardware}/of_node/compatible");
    let bytes = root.attribute(&path, &mut buffer, &mut problems);
    if let Some(problem) = problems.pop() {
        return Err(problem.into());
    }
    let bytes = bytes.ok_or_else(|| NodeError::NoNode(root.shown(hardware)))?;
    // A string that is not a valid compatible string matches no policy.
    let (compatible, _) = platform::compatible(bytes);
    Ok(Device { name, compatible })
}

/// Directory with a link for each character device.
const NUMBERS: &str = "sys/dev/char";
/// Fixed majors of video and DRM nodes (Documentation/admin-guide/devices.txt).
const VIDEO: u32 = 81;
const DRM: u32 = 226;

/// Returns the hardware behind the video and DRM nodes of the machine, by name. Hardware that the
/// device tree does not describe is omitted.
pub fn media(root: &Root, problems: &mut Vec<Problem>) -> BTreeMap<DeviceName, Device> {
    let mut found = BTreeMap::new();
    root.each(NUMBERS, problems, &mut |name, _| {
        if let Some(number) = written(name)
            && matches!(number.major, VIDEO | DRM)
            && let Ok(device) = read(root, number)
        {
            found.insert(device.name.clone(), device);
        }
    });
    found
}

/// Returns the number of the character device at `path`: a device node, a link to one, or the
/// number itself as `MAJOR:MINOR`. The node is not opened.
///
/// # Errors
///
/// Returns an error if `path` does not exist or is not a character device node.
pub fn number(path: &Path) -> Result<Number, Problem> {
    if let Some(number) = path.to_str().and_then(written) {
        return Ok(number);
    }
    let problem = |why: String| Problem::new(path.to_string_lossy(), why);
    let stat = stat(path).map_err(|e| problem(format!("failed to look up: {e}")))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice {
        return Err(problem(
            "is not the node of a character device, such as /dev/dri/renderD128".into(),
        ));
    }
    Ok(Number { major: major(stat.st_rdev), minor: minor(stat.st_rdev) })
}

/// Parses `MAJOR:MINOR`; both must consist of digits only.
fn written(text: &str) -> Option<Number> {
    let (major, minor) = text.split_once(':')?;
    let is_figures = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_figures(major) || !is_figures(minor) {
        return None;
    }
    Some(Number { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

/// Returns the directory of the node's own device.
fn resolve(root: &Root, number: Number) -> Result<String, NodeError> {
    let link = format!("{NUMBERS}/{number}");
    let target = match root.target(&link) {
        Ok(target) => target,
        Err(Errno::NOENT) => return Err(NodeError::Absent(root.shown(&link))),
        Err(e) => {
            return Err(
                Problem::new(root.shown(&link), format!("failed to read the link: {e}")).into()
            );
        }
    };
    // Accept only targets of the form that the kernel writes.
    let plain = |path: &&str| {
        !path.contains(char::is_control)
            && path.split('/').all(|name| !matches!(name, "" | "." | ".."))
    };
    match target.strip_prefix("../../devices/").filter(plain) {
        Some(path) => Ok(format!("sys/devices/{path}")),
        None => {
            let message = format!("points to {target:?}, which is not a device");
            Err(Problem::new(root.shown(&link), message).into())
        }
    }
}

/// Returns the directory of the hardware that the device at `node` belongs to.
fn hardware<'n>(root: &Root, node: &'n str) -> Result<&'n str, NodeError> {
    let (mut parent, _) = split(node);
    let (above, name) = split(parent);
    // Only the class directory is skipped. If the hardware is removed meanwhile, the result is an
    // error, never another device.
    if subsystem(root, parent)?.is_none() && subsystem(root, node)?.is_some_and(|own| own == name) {
        parent = above;
    }
    match subsystem(root, parent)? {
        Some(_) => Ok(parent),
        None => Err(NodeError::Virtual(root.shown(node))),
    }
}

/// Returns the name of the class or bus of the device at `path`. Returns `None` for a directory
/// between devices.
fn subsystem(root: &Root, path: &str) -> Result<Option<String>, NodeError> {
    let link = format!("{path}/subsystem");
    match root.target(&link) {
        Ok(target) => Ok(Some(split(&target).1.to_owned())),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => {
            Err(Problem::new(root.shown(&link), format!("failed to read the link: {e}")).into())
        }
    }
}

/// Splits `path` into its parent directory and its last component.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;
    use proptest::prelude::*;

    const USB: &str = "platform/fc800000.usb/usb1/1-1/1-1:1.0";

    /// Creates a device below /sys/devices with its path, class or bus, and device-tree node.
    fn device(tree: &Tree, path: &str, subsystem: &str, node: Option<(&str, &str)>) {
        let up = "../".repeat(path.split('/').count() + 1);
        tree.link(&format!("{up}{subsystem}"), &format!("sys/devices/{path}/subsystem"));
        if let Some((node, compatible)) = node {
            let base = "firmware/devicetree/base";
            tree.link(&format!("{up}{base}/{node}"), &format!("sys/devices/{path}/of_node"));
            tree.file(&format!("sys/{base}/{node}/compatible"), compatible);
        }
    }

    fn number(text: &str) -> Number {
        let (major, minor) = text.split_once(':').unwrap();
        Number { major: major.parse().unwrap(), minor: minor.parse().unwrap() }
    }

    fn node(tree: &Tree, number: &str, path: &str, subsystem: &str) {
        device(tree, path, subsystem, None);
        tree.link(&format!("../../devices/{path}"), &format!("sys/dev/char/{number}"));
    }

    /// A board with a GPU, a decoder, a display and a USB camera.
    fn board() -> Tree {
        let tree = Tree::new();
        let bus = "bus/platform";
        let gpu = "rockchip,rk3588-mali\0arm,mali-valhall-csf\0";
        let soc = Some(("soc", "simple-bus\0"));
        device(&tree, "platform/soc", bus, soc);
        device(&tree, "platform/soc/fb000000.gpu", bus, Some(("soc/gpu", gpu)));
        node(&tree, "226:128", "platform/soc/fb000000.gpu/drm/renderD128", "class/drm");
        let display = Some(("display", "rockchip,display-subsystem\0"));
        device(&tree, "platform/display-subsystem", bus, display);
        node(&tree, "226:0", "platform/display-subsystem/drm/card0", "class/drm");
        let decoder = "platform/soc/fdc38000.video-codec";
        device(&tree, decoder, bus, Some(("soc/vdec", "rockchip,rk3588-vdec\0")));
        node(&tree, "81:0", &format!("{decoder}/video4linux/video0"), "class/video4linux");
        node(&tree, "236:0", &format!("{decoder}/media0"), "bus/media");

        device(&tree, "platform/fc800000.usb", bus, Some(("usb", "generic-ehci\0")));
        // The root hub shares the device-tree node of its controller.
        device(&tree, "platform/fc800000.usb/usb1", "bus/usb", Some(("usb", "generic-ehci\0")));
        device(&tree, "platform/fc800000.usb/usb1/1-1", "bus/usb", None);
        device(&tree, USB, "bus/usb", None);
        node(&tree, "81:1", &format!("{USB}/video4linux/video1"), "class/video4linux");
        node(&tree, "236:1", &format!("{USB}/media1"), "bus/media");

        node(&tree, "252:0", "virtual/dma_heap/system", "class/dma_heap");
        // The kernel's virtual codec (vicodec), and a device without a parent.
        device(&tree, "platform/vicodec.0", bus, None);
        node(&tree, "81:2", "platform/vicodec.0/video4linux/video2", "class/video4linux");
        node(&tree, "10:60", "lonely", "bus/lonely");
        tree
    }

    #[test]
    fn number_accepts_nodes_links_and_major_minor() {
        let number_of = |path: &str| super::number(Path::new(path)).ok();
        // Documentation/admin-guide/devices.txt of the kernel: 1:3 is /dev/null.
        let null = Number { major: 1, minor: 3 };
        for path in ["/dev/null", "/proc/self/root/dev/null", "1:3"] {
            assert_eq!(number_of(path), Some(null), "{path}");
        }
        let none = ["/", "/proc/self/exe", "nowhere", "1:", ":3", "+1:3", "1:-3", "1:4294967296"];
        for path in none {
            assert_eq!(number_of(path), None, "{path}");
        }
    }

    #[test]
    fn read_finds_the_hardware_behind_a_node() {
        let tree = board();
        for (of, name, compatible) in [
            ("226:128", "fb000000.gpu", &["rockchip,rk3588-mali", "arm,mali-valhall-csf"][..]),
            ("226:0", "display-subsystem", &["rockchip,display-subsystem"]),
            ("81:0", "fdc38000.video-codec", &["rockchip,rk3588-vdec"]),
            ("236:0", "fdc38000.video-codec", &["rockchip,rk3588-vdec"]),
        ] {
            let found = read(&tree.root(), number(of)).unwrap();
            assert_eq!((found.name.as_str(), &found.compatible[..]), (name, &*own(compatible)));
        }
    }

    fn own(strings: &[&str]) -> Vec<String> {
        strings.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn media_are_the_hardware_of_video_and_drm_nodes() {
        let tree = board();
        tree.link("../../../secret", "sys/dev/char/81:9");
        let mut problems = Vec::new();
        let found = media(&tree.root(), &mut problems);
        let names: Vec<_> = found.keys().map(DeviceName::as_str).collect();
        assert_eq!(names, ["display-subsystem", "fb000000.gpu", "fdc38000.video-codec"]);
        assert!(problems.is_empty(), "{problems:?}");
        assert!(media(&Tree::new().root(), &mut problems).is_empty() && problems.is_empty());
    }

    #[test]
    fn usb_camera_is_not_taken_for_its_controller() {
        let tree = board();
        for of in ["81:1", "236:1"] {
            let error = read(&tree.root(), number(of)).unwrap_err();
            assert!(matches!(&error, NodeError::NoNode(path) if path.ends_with(USB)), "{error}");
        }
    }

    #[test]
    fn virtual_devices_have_no_hardware() {
        let tree = board();
        for of in ["252:0", "10:60"] {
            let error = read(&tree.root(), number(of)).unwrap_err();
            assert!(matches!(error, NodeError::Virtual(_)), "{of}: {error}");
        }
        let error = read(&tree.root(), number("81:2")).unwrap_err();
        assert!(matches!(error, NodeError::NoNode(_)), "{error}");
    }

    #[test]
    fn removed_hardware_is_not_replaced_by_its_parent() {
        let tree = board();
        // The kernel removes this link before it detaches the driver from the device.
        for (of, gone) in [
            ("81:1", USB),
            ("226:128", "platform/soc/fb000000.gpu"),
            ("236:0", "platform/soc/fdc38000.video-codec"),
        ] {
            std::fs::remove_file(tree.path(&format!("sys/devices/{gone}/subsystem"))).unwrap();
            let error = read(&tree.root(), number(of)).unwrap_err();
            assert!(matches!(error, NodeError::Virtual(_)), "{of}: {error}");
        }
    }

    #[test]
    fn read_rejects_a_hostile_tree() {
        let tree = board();
        tree.file("secret/compatible", "acme,secret\0");
        for (minor, target) in [
            (1, "../../../secret"),
            (2, "/sys/devices/platform/soc/fb000000.gpu/drm/renderD128"),
            (3, "../../devices/platform/../../../secret"),
            (4, "../../devices/"),
            (5, "../../devices//platform"),
            (6, "../../devices"),
            (7, "../../devices/a\nb/misc/c"),
        ] {
            tree.link(target, &format!("sys/dev/char/1:{minor}"));
        }
        let error_of = |of: &str| read(&tree.root(), number(of)).unwrap_err();
        for of in ["1:1", "1:2", "1:3", "1:4", "1:5", "1:6", "1:7"] {
            let error = error_of(of);
            assert!(matches!(error, NodeError::Problem(_)), "{of}: {error}");
            assert!(error.to_string().contains(of) && !error.to_string().contains('\n'), "{error}");
        }

        let long = format!("platform/{}", "x".repeat(64));
        device(&tree, &long, "bus/platform", Some(("long", "acme,long\0")));
        node(&tree, "2:0", &format!("{long}/misc/long"), "class/misc");
        assert!(matches!(error_of("2:0"), NodeError::Name { why: NameError::TooLong(_), .. }));
        device(&tree, "platform/big", "bus/platform", Some(("big", &"x".repeat(100_000))));
        node(&tree, "2:1", "platform/big/misc/big", "class/misc");
        assert!(matches!(error_of("2:1"), NodeError::Problem(_)));
        // The device was removed.
        tree.link("../../devices/platform/gone/drm/card9", "sys/dev/char/2:2");
        assert!(matches!(error_of("2:2"), NodeError::Virtual(_)));
        device(&tree, "platform/bad", "bus/platform", Some(("bad", "a/b\0acme,good\0cut")));
        node(&tree, "2:3", "platform/bad/misc/bad", "class/misc");
        assert_eq!(read(&tree.root(), number("2:3")).unwrap().compatible, ["acme,good"]);
    }

    /// Runs on any Linux: no hardware is behind /dev/null, and no device has the largest number.
    #[test]
    fn read_works_on_the_running_machine() {
        let root = Root::open(std::path::Path::new("/")).unwrap();
        let null = read(&root, number("1:3"));
        assert!(matches!(null, Err(NodeError::Virtual(_))), "{null:?}");
        let largest = Number { major: u32::MAX, minor: u32::MAX };
        let error = read(&root, largest).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/sys/dev/char/4294967295:4294967295 does not exist: no character device has this number"
        );
    }

    #[test]
    fn numbers_out_of_range_are_absent() {
        let tree = board();
        let root = tree.root();
        proptest!(|(major in any::<u32>(), minor in any::<u32>())| {
            let found = read(&root, Number { major, minor });
            // Majors have 12 bits in the kernel, minors 20.
            if major > 4095 || minor > 1_048_575 {
                prop_assert!(matches!(found, Err(NodeError::Absent(_))));
            }
        });
    }
}
