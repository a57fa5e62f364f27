// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reads the identity of the board from the root node of its device tree.

use protheap_core::facts::Platform;
use protheap_policy::name::{Key, NameError};

use crate::Problem;
use crate::root::Root;

/// Path of the device tree.
const TREE: &str = "sys/firmware/devicetree/base";
/// Maximum size of a property in bytes.
const LONGEST: usize = 64 * 1024;

/// A string of a `compatible` property that is not a valid policy name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("string {number} {why}")]
pub struct BadString {
    /// Position in the property, counted from 1.
    pub number: usize,
    /// Why the string is not valid.
    pub why: Why,
}

/// Reasons why a string is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The string is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// The property ends without a NUL.
    #[error("is not terminated")]
    Unterminated,
    /// The string is not a valid file name.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Splits the bytes of a device tree's `compatible` property. Each returned string is a valid
/// [`Key`]; the other strings are returned by position.
pub fn compatible(bytes: &[u8]) -> (Vec<String>, Vec<BadString>) {
    let mut strings = Vec::new();
    let mut bad = Vec::new();
    if bytes.is_empty() {
        return (strings, bad);
    }
    let (bytes, terminated) = match bytes.strip_suffix(b"\0") {
        Some(bytes) => (bytes, true),
        None => (bytes, false),
    };
    let mut pieces = bytes.split(|byte| *byte == 0).enumerate().peekable();
    while let Some((index, piece)) = pieces.next() {
        let last = pieces.peek().is_none();
        let checked = if last && !terminated {
            // The string may be truncated and could then match another board.
            Err(Why::Unterminated)
        } else {
            match std::str::from_utf8(piece) {
                Ok(text) => Key::new(text).map(|_| text).map_err(Why::from),
                Err(_) => Err(Why::NotUtf8),
            }
        };
        match checked {
            Ok(text) => strings.push(text.to_owned()),
            Err(why) => bad.push(BadString { number: index + 1, why }),
        }
    }
    (strings, bad)
}

/// Reads `compatible` and `model` of the device tree's root node. Returns neither if the machine
/// has no device tree.
pub fn read(root: &Root, problems: &mut Vec<Problem>) -> Platform {
    let path = format!("{TREE}/compatible");
    let bytes = root.read(&path, LONGEST, problems).unwrap_or_default();
    let (compatible, bad) = compatible(&bytes);
    report(root, &path, &bad, problems);

    let path = format!("{TREE}/model");
    let model = root.read(&path, LONGEST, problems).and_then(|bytes| {
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        match std::str::from_utf8(text) {
            Ok(text) => (!text.is_empty()).then(|| text.to_owned()),
            Err(_) => {
                problems.push(Problem::new(root.shown(&path), "is not UTF-8"));
                None
            }
        }
    });
    Platform { compatible, model }
}

/// Reports the bad strings of the `compatible` property at `path`.
pub(crate) fn report(root: &Root, path: &str, bad: &[BadString], problems: &mut Vec<Problem>) {
    for bad in bad {
        problems.push(Problem::new(root.shown(path), format!("{bad}, skipping it")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;
    use proptest::prelude::*;

    #[test]
    fn read_returns_compatible_strings_in_order() {
        let tree = Tree::new();
        tree.file("sys/firmware/devicetree/base/compatible", b"radxa,rock-5b\0rockchip,rk3588\0");
        tree.file("sys/firmware/devicetree/base/model", b"Radxa ROCK 5B\0");
        let mut problems = Vec::new();
        let platform = read(&tree.root(), &mut problems);
        assert_eq!(platform.compatible, ["radxa,rock-5b", "rockchip,rk3588"]);
        assert_eq!(platform.model.as_deref(), Some("Radxa ROCK 5B"));
        assert_eq!(problems, []);
    }

    #[test]
    fn compatible_skips_bad_strings_and_reports_positions() {
        let (strings, bad) = compatible(b"a,b\0\0../x\0..\0v\xffw\0\nx\0c,d\0cut");
        assert_eq!(strings, ["a,b", "c,d"]);
        let reported: Vec<_> = bad.iter().map(ToString::to_string).collect();
        assert_eq!(reported[0], "string 2 is empty");
        assert!(reported[1].starts_with("string 3 contains '/'"), "{}", reported[1]);
        assert_eq!(bad[2], BadString { number: 4, why: Why::Name(NameError::Directory) });
        assert_eq!(bad[3], BadString { number: 5, why: Why::NotUtf8 });
        assert_eq!(bad[4], BadString { number: 6, why: Why::Name(NameError::Character('\n')) });
        assert_eq!(bad[5], BadString { number: 8, why: Why::Unterminated });
        assert_eq!(bad.len(), 6);
        assert_eq!(compatible(b""), (vec![], vec![]));
        assert_eq!(compatible(b"\0").1, [BadString { number: 1, why: NameError::Empty.into() }]);
    }

    #[test]
    fn read_accepts_a_machine_without_a_device_tree() {
        let tree = Tree::new();
        let mut problems = Vec::new();
        assert_eq!(read(&tree.root(), &mut problems), Platform::default());
        assert_eq!(problems, []);
    }

    #[test]
    fn read_reports_unreadable_properties() {
        let tree = Tree::new();
        tree.directory("sys/firmware/devicetree/base/compatible");
        tree.file("sys/firmware/devicetree/base/model", b"\xff\0");
        let mut problems = Vec::new();
        assert_eq!(read(&tree.root(), &mut problems), Platform::default());
        assert_eq!(problems.len(), 2);
    }

    proptest! {
        #[test]
        fn compatible_keeps_or_reports_every_string(bytes in proptest::collection::vec(
            prop_oneof![Just(0u8), Just(b'/'), Just(b'.'), any::<u8>()], 0..200))
        {
            let (strings, bad) = compatible(&bytes);
            let pieces = match bytes.strip_suffix(b"\0") {
                Some(rest) => rest.split(|b| *b == 0).count(),
                None if bytes.is_empty() => 0,
                None => bytes.split(|b| *b == 0).count(),
            };
            prop_assert_eq!(strings.len() + bad.len(), pieces);
            for string in &strings {
                prop_assert!(Key::new(string).is_ok());
            }
        }

        #[test]
        fn compatible_returns_all_good_strings(strings in proptest::collection::vec("[a-z0-9,._-]{3,40}", 0..8)) {
            let bytes: Vec<u8> = strings.iter().flat_map(|s| [s.as_bytes(), b"\0"].concat()).collect();
            prop_assert_eq!(compatible(&bytes), (strings, vec![]));
        }
    }
}
