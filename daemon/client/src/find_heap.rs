// SPDX-License-Identifier: MIT OR Apache-2.0

//! The dictionaries of `FindHeap`.

use zbus::{DeserializeDict, SerializeDict, Type};

/// Options of [`find_heap`](crate::ManagerProxy::find_heap).
#[derive(Debug, Clone, Default, PartialEq, Eq, SerializeDict, Type)]
#[zbus(signature = "dict", rename_all = "kebab-case")]
pub struct FindHeapOptions {
    /// Ignore devices that no policy describes.
    pub allow_unknown: bool,
}

/// Properties of the heap returned by [`find_heap`](crate::ManagerProxy::find_heap).
#[derive(Debug, Clone, PartialEq, Eq, DeserializeDict, Type)]
#[zbus(signature = "dict", rename_all = "kebab-case")]
pub struct FindHeapDetails {
    /// Path of the heap's character device.
    pub node: String,
    /// `tee`, `unmappable` or `none`; empty until a buffer of the heap has been examined.
    pub protection: String,
    /// The kernel's name of the buffers' exporter; empty until a buffer of the heap has been
    /// examined.
    pub exporter: String,
    /// The heap's worst rank in a device's list; 0 is the first.
    pub worst_rank: u32,
    /// The devices that no policy describes.
    pub unknown: Vec<(u32, u32)>,
    /// Reliability of the heap's name according to the policies: `tested`, `documented` or
    /// `unverified`; `None` if no policy has evidence, or if the service does not report it.
    pub evidence: Option<String>,
    /// Reliability of the claim that a firewall protects the heap's memory, in the same words.
    pub firewall: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use zbus::wire::{LE, serialized::Context, to_bytes};
    use zbus::{OwnedVariant, Variant};

    #[test]
    fn options_match_the_interface() {
        let bytes =
            to_bytes(Context::new(LE, 0), &FindHeapOptions { allow_unknown: true }).unwrap();
        let (options, _): (HashMap<String, OwnedVariant>, _) = bytes.deserialize().unwrap();
        assert_eq!(options.len(), 1);
        assert!(bool::try_from(options["allow-unknown"].clone()).unwrap());
    }

    #[test]
    fn unknown_details_are_ignored() {
        let details = HashMap::from([
            ("node", Variant::from("/dev/dma_heap/acme_svp")),
            ("protection", Variant::from("tee")),
            ("exporter", Variant::from("tee")),
            ("worst-rank", Variant::from(2u32)),
            ("unknown", Variant::from(vec![(81u32, 1u32)])),
            ("from-the-future", Variant::from(true)),
        ]);
        let bytes = to_bytes(Context::new(LE, 0), &details).unwrap();
        let (details, _): (FindHeapDetails, _) = bytes.deserialize().unwrap();
        assert_eq!(details.node, "/dev/dma_heap/acme_svp");
        assert_eq!((details.protection.as_str(), details.exporter.as_str()), ("tee", "tee"));
        assert_eq!((details.worst_rank, details.unknown), (2, vec![(81, 1)]));
        assert_eq!(details.evidence, None, "of an older service");
    }
}
