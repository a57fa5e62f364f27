// SPDX-License-Identifier: MIT OR Apache-2.0

//! Names that come from outside and become parts of paths. Each is checked once, at its entry.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Reason why a name was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("is empty")]
    Empty,
    /// The name exceeds the kernel's maximum length. Contains that maximum.
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    /// The name contains a character that is not allowed.
    #[error("contains {0:?}; only printable ASCII characters other than `/` and space are allowed")]
    Character(char),
    /// The name is `.` or `..`.
    #[error("is `.` or `..`")]
    Directory,
}

fn check(name: &str, longest: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(bad) = name.chars().find(|c| !c.is_ascii_graphic() || *c == '/') {
        return Err(NameError::Character(bad));
    }
    if name.len() > longest {
        return Err(NameError::TooLong(longest));
    }
    if name == "." || name == ".." {
        return Err(NameError::Directory);
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $longest:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $type(String);

        impl $type {
            /// Maximum length of the name, in bytes.
            pub const LONGEST: usize = $longest;

            /// Checks `name`.
            ///
            /// # Errors
            ///
            /// Returns a [`NameError`] if the name is not valid.
            pub fn new(name: &str) -> Result<Self, NameError> {
                check(name, Self::LONGEST)?;
                Ok(Self(name.to_owned()))
            }

            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(name: String) -> Result<Self, NameError> {
                check(&name, Self::LONGEST)?;
                Ok(Self(name))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// Name of a dma-buf heap, as under `/dev/dma_heap`.
    HeapName,
    255
);

impl HeapName {
    /// Returns whether a kernel gives this name to a heap of a TEE. `drivers/tee/tee_heap.c` uses
    /// the prefix `protected,`; the patch series that became this file used `restricted,` up to its
    /// sixth version, and OP-TEE's tests still do (`optee_test`, pull request 811).
    pub fn is_of_tee(&self) -> bool {
        ["protected,", "restricted,"].iter().any(|prefix| self.0.starts_with(prefix))
    }
}
name!(
    /// Name of a device on its bus, as under `/sys/bus/platform/devices`. The maximum length is
    /// that of protheap.ko's ioctl (`driver/module/uapi/protheap.h`).
    DeviceName,
    63
);
name!(
    /// Key of a policy file: `default` or a compatible string. The maximum length leaves room for
    /// `.toml.d` in a directory entry.
    Key,
    248
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn new_rejects_names_that_are_no_directory_entry() {
        assert_eq!(HeapName::new(""), Err(NameError::Empty));
        assert_eq!(HeapName::new(".."), Err(NameError::Directory));
        assert_eq!(HeapName::new("a/b"), Err(NameError::Character('/')));
        assert_eq!(HeapName::new("a\nb"), Err(NameError::Character('\n')));
        assert_eq!(HeapName::new("hé"), Err(NameError::Character('é')));
        assert_eq!(HeapName::new(&"x".repeat(256)), Err(NameError::TooLong(255)));
        assert!(HeapName::new(&"x".repeat(255)).is_ok());
        assert!(HeapName::new("protected,secure-video").is_ok());
    }

    #[test]
    fn heap_of_a_tee_has_the_prefix_of_the_kernel() {
        let is_of_tee = |name| HeapName::new(name).unwrap().is_of_tee();
        assert!(is_of_tee("protected,secure-video"));
        assert!(is_of_tee("restricted,secure-video"));
        for other in ["protected", "protected_a", "acme,protected,a", "restricted_mtk_cma"] {
            assert!(!is_of_tee(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn accepted_name_is_one_path_component(name in "\\PC{0,300}") {
            if let Ok(name) = HeapName::new(&name) {
                let path = std::path::Path::new(name.as_str());
                prop_assert_eq!(path.components().count(), 1);
                prop_assert_eq!(path.file_name().and_then(|n| n.to_str()), Some(name.as_str()));
            }
        }
    }
}
