// SPDX-License-Identifier: MIT OR Apache-2.0

//! Device nodes: which hardware is behind the number of one.
//!
//! `/sys/dev/char/<major>:<minor>` leads to the node's own device below `/sys/devices`
//! (Documentation/ABI/testing/sysfs-dev). That is the kernel's idea of a render node or a video
//! node; the hardware is its parent there (Documentation/admin-guide/sysfs-rules.rst: the path is
//! the hierarchy, and the `device` link is not to be used). Between the two is a directory named
//! after the class, unless the node is on a bus, as media nodes are (`get_device_parent`,
//! drivers/base/core.c).

use std::path::Path;

use protheap_core::share::{Device, Number};
use protheap_policy::name::{DeviceName, NameError};
use rustix::fs::{FileType, major, minor, stat};
use rustix::io::Errno;

use crate::root::Root;
use crate::{Problem, platform};

/// Why the hardware behind a device node is not known.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// There is no such device, or no more.
    #[error("there is no {0}: no character device has this number")]
    Absent(String),
    /// Nothing but software is behind it.
    #[error("no hardware is behind {0}: give the node of a device that uses the memory")]
    Virtual(String),
    /// The hardware is not described in the device tree, as that on USB and PCI is not.
    #[error("{0} has no `compatible` in the device tree, so that no policy can know it")]
    NoNode(String),
    /// The hardware's name cannot stand in a policy.
    #[error("{path}: the device's name {why}, so that no policy can name it")]
    Name {
        /// The directory of the hardware.
        path: String,
        /// What is wrong with it.
        why: NameError,
    },
    /// Something is not as the kernel has it.
    #[error(transparent)]
    Problem(#[from] Problem),
}

/// Finds the hardware behind a character device, and what the device tree calls it.
///
/// Nothing further up is looked at: a USB camera has no node in the device tree, and must not pass
/// for the controller that it is plugged into.
///
/// # Errors
///
/// There is no such device, it is not of hardware that the device tree describes, or sysfs cannot be
/// read.
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
    // What cannot be a compatible string matches no policy.
    let (compatible, _) = platform::compatible(bytes);
    Ok(Device { name, compatible })
}

/// The number of the character device whose node is at `path`, a link to it, or `MAJOR:MINOR`
/// itself. The node is not opened.
///
/// # Errors
///
/// There is nothing, or no node of a character device.
pub fn number(path: &Path) -> Result<Number, Problem> {
    if let Some(number) = path.to_str().and_then(written) {
        return Ok(number);
    }
    let problem = |why: String| Problem::new(path.to_string_lossy(), why);
    let stat = stat(path).map_err(|e| problem(format!("cannot be looked at: {e}")))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice {
        return Err(problem(
            "is no node of a character device, such as /dev/dri/renderD128".into(),
        ));
    }
    Ok(Number { major: major(stat.st_rdev), minor: minor(stat.st_rdev) })
}

/// `MAJOR:MINOR`, in figures alone.
fn written(text: &str) -> Option<Number> {
    let (major, minor) = text.split_once(':')?;
    let is_figures = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = is_figures(major) && is_figures(minor);
    Some(Number { major: major.parse().ok()?, minor: minor.parse().ok()? }).filter(|_| plain)
}

/// The directory of the node's own device.
fn resolve(root: &Root, number: Number) -> Result<String, NodeError> {
    let link = format!("sys/dev/char/{number}");
    let target = match root.target(&link) {
        Ok(target) => target,
        Err(Errno::NOENT) => return Err(NodeError::Absent(root.shown(&link))),
        Err(e) => {
            return Err(
                Problem::new(root.shown(&link), format!("cannot be read as a link: {e}")).into()
            );
        }
    };
    // Only what the kernel writes is followed.
    let plain = |path: &&str| {
        !path.contains(char::is_control)
            && path.split('/').all(|name| !matches!(name, "" | "." | ".."))
    };
    match target.strip_prefix("../../devices/").filter(plain) {
        Some(path) => Ok(format!("sys/devices/{path}")),
        None => {
            let message = format!("leads to {target:?}, not to a device");
            Err(Problem::new(root.shown(&link), message).into())
        }
    }
}

/// The directory of the device that the one at `node` belongs to.
fn hardware<'n>(root: &Root, node: &'n str) -> Result<&'n str, NodeError> {
    let (mut parent, _) = split(node);
    let (above, name) = split(parent);
    // No directory is passed over but that of the class, so that of hardware which goes meanwhile
    // no answer comes instead of another's.
    if subsystem(root, parent)?.is_none() && subsystem(root, node)?.is_some_and(|own| own == name) {
        parent = above;
    }
    match subsystem(root, parent)? {
        Some(_) => Ok(parent),
        None => Err(NodeError::Virtual(root.shown(node))),
    }
}

/// The name of the class or bus that the device at `path` is of; a directory between devices is of
/// none.
fn subsystem(root: &Root, path: &str) -> Result<Option<String>, NodeError> {
    let link = format!("{path}/subsystem");
    match root.target(&link) {
        Ok(target) => Ok(Some(split(&target).1.to_owned())),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => {
            Err(Problem::new(root.shown(&link), format!("cannot be read as a link: {e}")).into())
        }
    }
}

/// The directory that holds `path`, and the last name in it.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;
    use proptest::prelude::*;

    const USB: &str = "platform/fc800000.usb/usb1/1-1/1-1:1.0";

    /// A device below /sys/devices: its place, its class or bus, its node in the device tree.
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

    /// A board with a GPU, a decoder, a display, and a USB camera.
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
        // A root hub has its controller's node.
        device(&tree, "platform/fc800000.usb/usb1", "bus/usb", Some(("usb", "generic-ehci\0")));
        device(&tree, "platform/fc800000.usb/usb1/1-1", "bus/usb", None);
        device(&tree, USB, "bus/usb", None);
        node(&tree, "81:1", &format!("{USB}/video4linux/video1"), "class/video4linux");
        node(&tree, "236:1", &format!("{USB}/media1"), "bus/media");

        node(&tree, "252:0", "virtual/dma_heap/system", "class/dma_heap");
        // As of the kernel's own virtual codec, and of a device that has no parent at all.
        device(&tree, "platform/vicodec.0", bus, None);
        node(&tree, "81:2", "platform/vicodec.0/video4linux/video2", "class/video4linux");
        node(&tree, "10:60", "lonely", "bus/lonely");
        tree
    }

    #[test]
    fn a_number_is_that_of_a_node_or_written() {
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
    fn finds_the_hardware_behind_a_node() {
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
    fn a_camera_is_not_its_controller() {
        let tree = board();
        for of in ["81:1", "236:1"] {
            let error = read(&tree.root(), number(of)).unwrap_err();
            assert!(matches!(&error, NodeError::NoNode(path) if path.ends_with(USB)), "{error}");
        }
    }

    #[test]
    fn what_is_of_no_hardware_is_nothing_else() {
        let tree = board();
        for of in ["252:0", "10:60"] {
            let error = read(&tree.root(), number(of)).unwrap_err();
            assert!(matches!(error, NodeError::Virtual(_)), "{of}: {error}");
        }
        let error = read(&tree.root(), number("81:2")).unwrap_err();
        assert!(matches!(error, NodeError::NoNode(_)), "{error}");
    }

    #[test]
    fn hardware_that_goes_is_not_the_one_above_it() {
        let tree = board();
        // The kernel takes away this link before the driver lets go of the device.
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
    fn a_hostile_tree_gets_an_error() {
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
        let tell = |of: &str| read(&tree.root(), number(of)).unwrap_err();
        for of in ["1:1", "1:2", "1:3", "1:4", "1:5", "1:6", "1:7"] {
            let error = tell(of);
            assert!(matches!(error, NodeError::Problem(_)), "{of}: {error}");
            assert!(error.to_string().contains(of) && !error.to_string().contains('\n'), "{error}");
        }

        let long = format!("platform/{}", "x".repeat(64));
        device(&tree, &long, "bus/platform", Some(("long", "acme,long\0")));
        node(&tree, "2:0", &format!("{long}/misc/long"), "class/misc");
        assert!(matches!(tell("2:0"), NodeError::Name { why: NameError::TooLong(_), .. }));
        device(&tree, "platform/big", "bus/platform", Some(("big", &"x".repeat(100_000))));
        node(&tree, "2:1", "platform/big/misc/big", "class/misc");
        assert!(matches!(tell("2:1"), NodeError::Problem(_)));
        // Its device has gone.
        tree.link("../../devices/platform/gone/drm/card9", "sys/dev/char/2:2");
        assert!(matches!(tell("2:2"), NodeError::Virtual(_)));
        device(&tree, "platform/bad", "bus/platform", Some(("bad", "a/b\0acme,good\0cut")));
        node(&tree, "2:3", "platform/bad/misc/bad", "class/misc");
        assert_eq!(read(&tree.root(), number("2:3")).unwrap().compatible, ["acme,good"]);
    }

    /// On any Linux: /dev/null is of no hardware, and no device has the largest number.
    #[test]
    fn the_running_machine_is_as_the_trees() {
        let root = Root::open(std::path::Path::new("/")).unwrap();
        let null = read(&root, number("1:3"));
        assert!(matches!(null, Err(NodeError::Virtual(_))), "{null:?}");
        let largest = Number { major: u32::MAX, minor: u32::MAX };
        let error = read(&root, largest).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no /sys/dev/char/4294967295:4294967295: no character device has this number"
        );
    }

    #[test]
    fn any_number_has_an_answer() {
        let tree = board();
        let root = tree.root();
        proptest!(|(major in any::<u32>(), minor in any::<u32>())| {
            let found = read(&root, Number { major, minor });
            // The kernel's numbers have 12 and 20 bits.
            if major > 4095 || minor > 1_048_575 {
                prop_assert!(matches!(found, Err(NodeError::Absent(_))));
            }
        });
    }
}
