// SPDX-License-Identifier: MIT OR Apache-2.0

//! Object paths of GPUs and heaps. Names are escaped like systemd's bus labels: see
//! `bus_label_escape()` in systemd's `src/basic/bus-label.c`.

use zbus::{ObjectPath, OwnedObjectPath};

/// Path of the object that implements [`Manager`](crate::ManagerProxy).
pub const MANAGER_PATH: &str = "/org/protheap1";

/// Returns the path of the [`Gpu`](crate::GpuProxy) with this device name, such as `fb000000.gpu`.
pub fn gpu_path(device: &str) -> OwnedObjectPath {
    below("gpu", device)
}

/// Returns the path of the [`Heap`](crate::HeapProxy) with this name, such as
/// `protected,secure-video`.
pub fn heap_path(name: &str) -> OwnedObjectPath {
    below("heap", name)
}

fn below(kind: &str, name: &str) -> OwnedObjectPath {
    let path = format!("{MANAGER_PATH}/{kind}/{}", label(name));
    // A label contains only characters that are valid in a path.
    ObjectPath::from_string_unchecked(path).into()
}

/// Escapes a name for use as one element of an object path.
///
/// ```
/// assert_eq!(protheap_client::label("fb000000.gpu"), "fb000000_2egpu");
/// ```
pub fn label(name: &str) -> String {
    if name.is_empty() {
        return "_".to_owned();
    }
    let mut label = String::new();
    for (at, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            label.push(char::from(byte));
        } else {
            label += &format!("_{byte:02x}");
        }
    }
    label
}

/// Returns the name that was escaped to `label`. Returns `None` if [`label`] does not generate it.
pub fn unescape(label: &str) -> Option<String> {
    if label == "_" {
        return Some(String::new());
    }
    let mut name = Vec::new();
    let mut rest = label;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..)?;
        if c == '_' {
            name.push(u8::from_str_radix(rest.get(..2)?, 16).ok()?);
            rest = rest.get(2..)?;
        } else {
            name.push(u8::try_from(c).ok()?);
        }
    }
    let name = String::from_utf8(name).ok()?;
    (self::label(&name) == label).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn label_escapes_as_systemd_does() {
        for (name, expected) in [
            ("", "_"),
            ("system", "system"),
            ("fb000000.gpu", "fb000000_2egpu"),
            ("40000000.gpu", "_340000000_2egpu"),
            ("protected,secure-video", "protected_2csecure_2dvideo"),
            ("acme_svp", "acme_5fsvp"),
            ("é", "_c3_a9"),
        ] {
            assert_eq!(label(name), expected);
            assert_eq!(unescape(expected).as_deref(), Some(name));
        }
        assert_eq!(gpu_path("40000000.gpu").as_str(), "/org/protheap1/gpu/_340000000_2egpu");
        assert_eq!(heap_path("a-b").as_str(), "/org/protheap1/heap/a_2db");
    }

    #[test]
    fn unescape_rejects_invalid_labels() {
        for label in ["", "a.b", "a_2", "a_2G", "a_2E", "a_+1", "4a", "_61", "_ff", "a_", "é"] {
            assert_eq!(unescape(label), None, "{label}");
        }
    }

    proptest! {
        #[test]
        fn unescape_reverses_label(name in "\\PC{0,64}|[a-z0-9_,.-]{0,64}") {
            prop_assert_eq!(unescape(&label(&name)), Some(name));
        }

        #[test]
        fn object_paths_are_valid(name in any::<String>()) {
            for path in [gpu_path(&name), heap_path(&name)] {
                prop_assert!(ObjectPath::try_from(path.as_str()).is_ok());
            }
        }

        #[test]
        fn unescape_is_injective(text in "[a-f0-9_]{0,12}") {
            if let Some(name) = unescape(&text) {
                prop_assert_eq!(label(&name), text);
            }
        }
    }
}
