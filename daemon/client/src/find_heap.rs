// SPDX-License-Identifier: MIT OR Apache-2.0

//! The dictionaries of `FindHeap`.

use zbus::{DeserializeDict, SerializeDict, Type};

/// What [`find_heap`](crate::ManagerProxy::find_heap) may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, SerializeDict, Type)]
#[zbus(signature = "dict", rename_all = "kebab-case")]
pub struct FindHeapOptions {
    /// Leave devices that no policy knows out of account.
    pub allow_unknown: bool,
}

/// What [`find_heap`](crate::ManagerProxy::find_heap) tells of the heap.
#[derive(Debug, Clone, PartialEq, Eq, DeserializeDict, Type)]
#[zbus(signature = "dict", rename_all = "kebab-case")]
pub struct FindHeapDetails {
    /// The path of its character device.
    pub node: String,
    /// `tee`, `unmappable` or `none`; empty while no buffer of it was judged.
    pub protection: String,
    /// Who makes its buffers, as the kernel names it; empty while no buffer of it was judged.
    pub exporter: String,
    /// Its worst place in a device's list; 0 is the first.
    pub worst_rank: u32,
    /// The devices that no policy knows.
    pub unknown: Vec<(u32, u32)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use zbus::wire::{LE, serialized::Context, to_bytes};
    use zbus::{OwnedVariant, Variant};

    #[test]
    fn options_are_what_the_interface_says() {
        let bytes =
            to_bytes(Context::new(LE, 0), &FindHeapOptions { allow_unknown: true }).unwrap();
        let (options, _): (HashMap<String, OwnedVariant>, _) = bytes.deserialize().unwrap();
        assert_eq!(options.len(), 1);
        assert!(bool::try_from(options["allow-unknown"].clone()).unwrap());
    }

    #[test]
    fn details_that_nobody_knows_yet_are_passed_over() {
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
    }
}
