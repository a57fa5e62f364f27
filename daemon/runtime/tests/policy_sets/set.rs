// SPDX-License-Identifier: MIT OR Apache-2.0

//! Random sets of policy files.

use std::collections::BTreeMap;

use proptest::bool::weighted;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use protheap_core::facts::{Facts, Gpu, HeapModule, Module, Provider, Tee};
use protheap_policy::name::{DeviceName, HeapName};

/// Directories of policies, by descending precedence.
const LAYERS: [&str; 3] =
    ["etc/protheap/policies", "run/protheap/policies", "usr/lib/protheap/policies"];
const KEYS: [&str; 4] = ["default", "acme,a9", "acme,kiosk", "acme,soc"];
const DROP_INS: [&str; 3] = ["10-a.toml", "20-b.toml", "9.toml"];
/// Names beside drop-ins that are not drop-ins.
pub(crate) const NO_DROP_INS: [&str; 2] = [".a.toml", "note.txt"];
/// GPUs: device name, then compatible strings.
pub(crate) const GPUS: [[&str; 3]; 2] = [
    ["fb000000.gpu", "acme,a9-mali", "arm,mali-valhall-csf"],
    ["13000000.gpu", "acme,other-mali", "arm,mali-valhall-csf"],
];
const GPU_KEYS: [&str; 4] =
    ["fb000000.gpu", "acme,a9-mali", "arm,mali-valhall-csf", "acme,other-mali"];
const HEAPS: [&str; 3] = ["acme_svp", "protected,secure-video", "protected,trusted-ui"];
pub(crate) const FAULTY: [&[u8]; 6] = [
    b"\n",
    b"description = \"no schema\"\n",
    b"schema = 1\n[gpu.\"arm,mali-valhall-csf\"]\nheap = []\n",
    b"schema = 1\n[gpu.\"arm,mali-valhall-csf\"]\nheaps = []\nhold = \"11s\"\n",
    b"schema = 1\n[share\n",
    b"schema = 1\n# \xff\n",
];

/// Texts and modes of `image.toml`, and whether local policies count: without and with lockdown.
pub(crate) const IMAGES: [(&str, u32, [bool; 2]); 7] = [
    ("local-policy = \"never\"\n", 0o644, [false, false]),
    ("local-policy = \"unlocked\"\n", 0o644, [true, false]),
    ("local-policy = \"always\"\n", 0o644, [true, true]),
    ("local-policy = \"always\"\n", 0o666, [false, false]),
    ("local-policy = true\n", 0o644, [false, false]),
    ("local-policy\n", 0o644, [false, false]),
    ("schema = 1\n", 0o644, [true, false]),
];
/// Only the owner can write most files.
const MODES: [u32; 6] = [0o644, 0o644, 0o644, 0o400, 0o664, 0o646];

#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub(crate) files: BTreeMap<Place, Entry>,
    /// Modes of directories that users other than root can write.
    pub(crate) open: BTreeMap<String, u32>,
    /// Index in [`IMAGES`].
    pub(crate) image: Option<usize>,
    pub(crate) lockdown: bool,
}

/// Path of a file. The order is by key, with the file of the key before its drop-ins, and by layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) key: &'static str,
    pub(crate) drop_in: Option<&'static str>,
    pub(crate) layer: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Text(Content),
    Empty,
    Null,
    Faulty(&'static [u8]),
    Directory,
    /// A dangling link.
    Dangling,
}

/// Contents of a file: the text of each value, by its keys.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) values: BTreeMap<Vec<String>, String>,
    /// Whether tables have headers, or else one line for each value.
    headers: bool,
}

impl Place {
    pub(crate) fn layer(self) -> String {
        LAYERS[self.layer].to_owned()
    }

    pub(crate) fn directory(self) -> String {
        match self.drop_in {
            Some(_) => format!("{}/{}.toml.d", LAYERS[self.layer], self.key),
            None => self.layer(),
        }
    }

    pub(crate) fn path(self) -> String {
        let name = self.drop_in.map_or_else(|| format!("{}.toml", self.key), str::to_owned);
        format!("{}/{name}", self.directory())
    }
}

impl Content {
    pub(crate) fn text(&self) -> String {
        let mut text = "schema = 1\n".to_owned();
        let mut table = &[][..];
        for (keys, value) in &self.values {
            let quoted: Vec<_> = keys.iter().map(|key| format!("{key:?}")).collect();
            if !self.headers {
                text += &format!("{} = {value}\n", quoted.join("."));
                continue;
            }
            if table != &keys[..2] {
                table = &keys[..2];
                text += &format!("[{}]\n", quoted[..2].join("."));
            }
            // A table alone has no value beside its header.
            if quoted.len() > 2 {
                text += &format!("{} = {value}\n", quoted[2..].join("."));
            }
        }
        text
    }
}

pub(crate) fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// Returns a candidate, with the key and the value of what registers its heap.
pub(crate) fn written(name: &str, tee: Option<&str>, by: Option<(&str, &str)>) -> String {
    let keys = tee.map(|tee| ("tee", tee)).into_iter().chain(by);
    let keys = keys.map(|(key, value)| format!(", {key} = {value:?}"));
    format!("{{ name = {name:?}{} }}", keys.collect::<String>())
}

fn content() -> impl Strategy<Value = Content> {
    let heap = prop_oneof![3 => select(&HEAPS[..]), 1 => Just("protected,*")];
    let tee = option::weighted(0.2, select(&["optee", "qtee"][..]));
    let by = [("provider", "acme,svp"), ("module", "acme_svp")];
    let by = option::weighted(0.3, select(by.to_vec()));
    let candidate = (heap, tee, by).prop_map(|(name, tee, by)| written(name, tee, by));
    let field = prop_oneof![
        4 => vec(candidate, 0..3).prop_map(|all| ("heaps", format!("[{}]", all.join(", ")))),
        1 => (0..=10).prop_map(|s| ("hold", format!("\"{s}s\""))),
        1 => select(&["boot", "demand"][..]).prop_map(|when| ("bind", quoted(when))),
        1 => (1..=64).prop_map(|k| ("suspend bytes", format!("\"{k}KiB\""))),
        1 => (0..=128).prop_map(|n: i32| ("suspend count", n.to_string())),
        1 => (0..=9).prop_map(|n| ("firmware", format!("\"arch10.{n}\""))),
        1 => any::<bool>().prop_map(|yes| ("allow-unprotected", yes.to_string())),
        // An empty table counts too, and precedes those that are less specific.
        1 => Just(("", "{}".to_owned())),
    ];
    let gpu = (select(&GPU_KEYS[..]), field)
        .prop_map(|(gpu, (field, value))| (format!("gpu {gpu} {field}"), value));
    let names = vec(select(&HEAPS[..]).prop_map(quoted), 0..3);
    let share = (select(&["acme,vdec video", "acme,vdec ui", "acme,dpu ui"][..]), names)
        .prop_map(|(usage, names)| (format!("share {usage}"), format!("[{}]", names.join(", "))));
    let status = || select(&["tested", "documented", "unverified"][..]);
    let evidence = (select(&HEAPS[..]), status())
        .prop_map(|(heap, status)| (format!("evidence {heap} status"), quoted(status)));
    let value = prop_oneof![6 => gpu, 1 => share, 1 => evidence]
        .prop_map(|(keys, value)| (keys.split_whitespace().map(str::to_owned).collect(), value));
    (vec(value, 0..10), any::<bool>()).prop_map(|(values, headers)| {
        let mut values: BTreeMap<Vec<String>, String> = values.into_iter().collect();
        let all: Vec<_> = values.keys().cloned().collect();
        // A table is empty only if no other value is in it.
        values.retain(|keys, _| all.iter().filter(|all| all.starts_with(keys)).count() == 1);
        Content { values, headers }
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let file = prop_oneof![
        8 => content().prop_map(Kind::Text),
        1 => Just(Kind::Empty),
        1 => select(&FAULTY[..]).prop_map(Kind::Faulty),
    ];
    let file = (file, select(&MODES[..])).prop_map(|(kind, mode)| Entry { kind, mode });
    let other = select(&[Kind::Null, Kind::Null, Kind::Directory, Kind::Dangling][..]);
    prop_oneof![6 => file, 1 => other.prop_map(|kind| Entry { kind, mode: 0o644 })]
}

pub(crate) fn sets() -> impl Strategy<Value = Set> {
    let drop_in = prop_oneof![6 => select(&DROP_INS[..]), 1 => select(&NO_DROP_INS[..])];
    let name = (select(&KEYS[..]), option::weighted(0.6, drop_in));
    let directory = (name.clone(), 0..LAYERS.len())
        .prop_map(|((key, drop_in), layer)| Place { key, drop_in, layer }.directory());
    // Most names occur in several layers.
    let layers = vec(option::weighted(0.7, entry()), LAYERS.len());
    let files = btree_map(name, layers, 0..12).prop_map(|names| {
        let mut files = BTreeMap::new();
        for ((key, drop_in), layers) in names {
            for (layer, entry) in layers.into_iter().enumerate() {
                files.extend(entry.map(|entry| (Place { key, drop_in, layer }, entry)));
            }
        }
        files
    });
    let open = btree_map(directory, select(&[0o775, 0o757, 0o1777][..]), 0..2);
    let image = option::of(0..IMAGES.len());
    (files, open, image, weighted(0.3)).prop_map(|(files, open, image, lockdown)| Set {
        files,
        open,
        image,
        lockdown,
    })
}

/// Returns the root `compatible` of a board.
pub(crate) fn boards() -> impl Strategy<Value = Vec<String>> {
    let strings = subsequence(&KEYS[1..], 1..KEYS.len()).prop_shuffle();
    strings.prop_map(|strings| strings.into_iter().map(str::to_owned).collect())
}

pub(crate) fn facts() -> impl Strategy<Value = Facts> {
    let heaps = subsequence(&HEAPS[..], 0..=HEAPS.len());
    let provider = option::of(option::of(Just("svp".to_owned())));
    let state = option::of(select(HeapModule::ALL));
    let flags = any::<[bool; 3]>();
    let all = (heaps, provider, state, flags);
    all.prop_map(|(heaps, provider, state, [lockdown, module, tee])| {
        let mut facts = Facts::default();
        facts.heap_modules.extend(state.map(|state| ("acme_svp".to_owned(), state)));
        for [device, compatible @ ..] in GPUS {
            let gpu = Gpu { compatible: compatible.map(str::to_owned).into(), ..Gpu::default() };
            facts.gpus.insert(DeviceName::new(device).unwrap(), gpu);
        }
        facts.heaps = heaps.iter().map(|heap| HeapName::new(heap).unwrap()).collect();
        if let Some(driver) = provider {
            let compatible = vec!["acme,svp".to_owned()];
            let provider = Provider { compatible, driver, loadable: true, ..Provider::default() };
            facts.providers.insert(DeviceName::new("svp").unwrap(), provider);
        }
        facts.kernel.lockdown = lockdown;
        facts.kernel.module = module.then_some(Module { abi: 1, can_allocate: false });
        facts.tees.extend(tee.then(|| Tee { implementation: "optee".into(), revision: None }));
        facts
    })
}
