// SPDX-License-Identifier: MIT OR Apache-2.0

//! Devices of the media pipeline: the codecs, display controllers and cameras of a SoC.

use std::collections::BTreeSet;
use std::fmt;

use super::{DeviceTree, OKAY, Property};

/// Maximum number of devices that are returned.
const MOST: usize = 64;

/// Function of a device in a media pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Decodes video or images.
    Decoder,
    /// Encodes video or images.
    Encoder,
    /// Decodes or encodes; the node does not show which.
    Codec,
    /// Shows images.
    Display,
    /// Records images.
    Camera,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Decoder => "decoder",
            Self::Encoder => "encoder",
            Self::Codec => "codec",
            Self::Display => "display",
            Self::Camera => "camera",
        })
    }
}

/// A device of the media pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaDevice {
    /// Path of the node.
    pub path: String,
    /// `compatible` of the node, most specific first; never empty.
    pub compatible: Vec<String>,
    /// Function of the device.
    pub role: Role,
}

/// Node that stands for all display controllers of a SoC, and has the KMS device.
const DISPLAY_SUBSYSTEM: &str = "display-subsystem";
/// Words in compatible strings of devices that only serve another device.
const HELPERS: [&str; 16] = [
    "blk", "bridge", "clk", "clock", "ctrl", "grf", "iommu", "larb", "mmu", "mutex", "phy",
    "pinctrl", "power", "reset", "sram", "syscon",
];

impl DeviceTree {
    /// Returns the enabled devices of the media pipeline according to the names and compatible
    /// strings of their nodes, one for each first compatible string, in the tree's order. Devices
    /// after the first 64 are omitted.
    pub fn media_devices(&self) -> Vec<MediaDevice> {
        let reserved: BTreeSet<usize> = self.regions().map(|(node, _)| node).collect();
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        for node in 1..self.nodes.len() {
            let Some(device) = self.media_device(node).filter(|_| !reserved.contains(&node)) else {
                continue;
            };
            if device.compatible.first().is_some_and(|first| seen.insert(first.clone())) {
                found.push(device);
            }
        }
        let stands_for_all = |device: &MediaDevice| device.path.ends_with(DISPLAY_SUBSYSTEM);
        if found.iter().any(stands_for_all) {
            found.retain(|device| device.role != Role::Display || stands_for_all(device));
        }
        found.truncate(MOST);
        found
    }

    fn media_device(&self, node: usize) -> Option<MediaDevice> {
        self.property(node, Property::Compatible)?;
        let (compatible, _) = self.compatible(node);
        let role = role(self.name(node), &compatible)?;
        // A node on a bus without addresses of the processor, such as a camera's sensor, accesses
        // no memory.
        let has_address = self.nodes.get(node)?.address.is_some();
        let accesses_memory = has_address || self.property(node, Property::Reg).is_none();
        let is_device = accesses_memory && !compatible.is_empty() && self.status(node) == OKAY;
        is_device.then(|| MediaDevice { path: self.path(node), compatible, role })
    }
}

/// Returns what the device of a node does according to the node's name, which may have an address,
/// and its compatible strings.
pub fn role(name: &str, compatible: &[String]) -> Option<Role> {
    let words = || {
        compatible
            .iter()
            .filter_map(|one| one.split_once(','))
            .flat_map(|(_, model)| model.split(|c: char| !c.is_ascii_alphanumeric()))
    };
    if words().any(|word| HELPERS.contains(&word)) {
        return None;
    }
    let last = |end: &str| words().any(|word| word == end);
    let of_words = match words().find_map(role_of_word) {
        // Such as mt8196-vcodec-dec.
        Some(Role::Codec) if last("dec") => Some(Role::Decoder),
        Some(Role::Codec) if last("enc") => Some(Role::Encoder),
        role => role,
    };
    // The name of a node says `video-codec` for decoders and encoders as well.
    of_words.or(match name.split('@').next().unwrap_or_default() {
        "video-decoder" | "vdec" | "jpegdec" => Some(Role::Decoder),
        "video-encoder" | "venc" | "jpegenc" => Some(Role::Encoder),
        "video-codec" | "vpu" => Some(Role::Codec),
        DISPLAY_SUBSYSTEM | "display-controller" | "display" => Some(Role::Display),
        "camera" | "isp" => Some(Role::Camera),
        _ => None,
    })
}

/// Returns what a device with this word in a compatible string does.
fn role_of_word(word: &str) -> Option<Role> {
    let model = word.trim_end_matches(|c: char| c.is_ascii_digit());
    match model {
        "vdpu" => Some(Role::Decoder),
        "vepu" => Some(Role::Encoder),
        "vpu" | "vcodec" | "hantro" => Some(Role::Codec),
        "vop" | "dpu" | "lcdif" | "mdss" | "komeda" | "display" => Some(Role::Display),
        "isp" | "rkisp" | "isi" | "camss" | "camera" | "vicap" | "rkcif" => Some(Role::Camera),
        _ if model.ends_with("vdec") || model.ends_with("jpgdec") => Some(Role::Decoder),
        _ if model.ends_with("venc") || model.ends_with("jpgenc") => Some(Role::Encoder),
        _ => None,
    }
}
