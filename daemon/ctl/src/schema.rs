// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl schema`: what a policy may say, as editors read it.

#![allow(dead_code, reason = "the types are only described, never made")]

use std::collections::BTreeMap;

use anyhow::Result;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

/// It takes no options.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It is draft 2020-12 of JSON Schema. Editors that know taplo read it if the policy begins with a \
line that says where it is: `#:schema policy.schema.json`. It describes forms alone: `protheapctl \
check` finds more.")]
pub(crate) struct Args {}

/// Makes the schema.
pub(crate) fn run() -> Result<String> {
    let plain = RecursiveTransform(plain as fn(&mut Schema));
    let settings = SchemaSettings::draft2020_12().with_transform(plain);
    let schema = settings.into_generator().into_root_schema_for::<Policy>();
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

/// Takes out what TOML does not have: `null`, and widths of integers.
fn plain(schema: &mut Schema) {
    schema.remove("format");
    if let Some(Value::Array(types)) = schema.get("type")
        && let [kind, Value::String(null)] = types.as_slice()
        && null == "null"
    {
        let kind = kind.clone();
        schema.insert("type".to_owned(), kind);
    }
    if let Some(Value::Array(any)) = schema.get("anyOf")
        && let [Value::Object(one), Value::Object(_)] = any.as_slice()
    {
        let one = one.clone();
        schema.remove("anyOf");
        one.into_iter().for_each(|(key, value)| drop(schema.insert(key, value)));
    }
    // The line breaks are those of this file.
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
}

/// What a GPU and a media pipeline use on boards of one compatible string, which is the file's
/// name.
#[derive(JsonSchema)]
#[schemars(title = "Protheap policy", deny_unknown_fields)]
struct Policy {
    /// The version of the format.
    #[schemars(range(min = 1, max = 1))]
    schema: u8,
    /// What people should call it.
    #[schemars(example = "Acme A9 family")]
    description: Option<String>,
    /// What applies to a GPU, by its compatible string or its device's name.
    gpu: Option<BTreeMap<String, Gpu>>,
    /// The heaps that a device of a media pipeline can use, by its compatible string or its device's
    /// name: by usage, in the order of preference.
    share: Option<BTreeMap<String, Share>>,
    /// How the name of a heap is known, by that name.
    evidence: Option<BTreeMap<String, Evidence>>,
}

/// What applies to a GPU.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Gpu {
    /// The first that is there, fits, and passes is bound.
    heaps: Option<Vec<Candidate>>,
    /// When it is bound: before the GPU's driver probes, or when the first protected group is
    /// created or a client asks. At boot if no policy says it.
    bind: Option<Bind>,
    /// How long the GPU's probe is held at most: up to 10 seconds. 5 seconds if no policy says it.
    #[schemars(regex(pattern = r"^[0-9]+(ms|s)$"), example = "5s", example = "250ms")]
    hold: Option<String>,
    /// The suspend buffers of protected command stream groups.
    suspend: Option<Suspend>,
    /// The directory of the firmware image that the GPU loads.
    #[schemars(regex(pattern = r"^arch[0-9]+\.[0-9]+$"), example = "arch10.8")]
    firmware: Option<String>,
    /// Memory that can be mapped may be bound: for bring-up alone.
    allow_unprotected: Option<bool>,
}

/// When a heap is bound.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Bind {
    /// Before the GPU's driver probes.
    Boot,
    /// When the first protected group is created, or a client asks.
    Demand,
}

/// A heap that may be bound: all that is said beside its name has to hold.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Candidate {
    /// The heap's name; with a `*` at its end, the only heap whose name begins so.
    #[schemars(
        regex(pattern = r"^[!-)+-.0-~]+\*?$"),
        length(max = 256),
        example = "protected,secure-video",
        example = "protected,*"
    )]
    name: String,
    /// The TEE that has to be there.
    tee: Option<Tee>,
    /// Its revisions that fit. One that does not tell its revision never does.
    #[schemars(regex(pattern = RANGE), example = ">=4.2, <4.6")]
    tee_revision: Option<String>,
    /// The releases of the kernel that fit, by the number that they begin with.
    #[schemars(regex(pattern = RANGE), example = ">=7.3")]
    kernel: Option<String>,
    /// The text of `/sys/bus/soc/devices/soc*/soc_id`.
    #[schemars(example = "i.MX95")]
    soc_id: Option<String>,
    /// The revisions of that SoC that fit.
    #[schemars(regex(pattern = RANGE), example = ">=2.0", example = ">=0x10")]
    soc_revision: Option<String>,
    /// The compatible string of the node whose driver brings the heap: it is waited for.
    #[schemars(example = "acme,a9-svp")]
    provider: Option<String>,
}

/// Bounds with commas between them. Each has an operator and dotted numbers.
const RANGE: &str = r"^ *(<=|>=|<|>|=) *(0x[0-9a-fA-F]+|[0-9]+)(\.(0x[0-9a-fA-F]+|[0-9]+))* *(, *(<=|>=|<|>|=) *(0x[0-9a-fA-F]+|[0-9]+)(\.(0x[0-9a-fA-F]+|[0-9]+))* *)*$";

/// A TEE that the kernel has a driver for.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Tee {
    Optee,
    Amdtee,
    Tstee,
    Qtee,
}

/// The suspend buffers of a GPU.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Suspend {
    /// The size of each until the firmware says its own: up to 16MiB. 64KiB if no policy says it.
    #[schemars(regex(pattern = r"^[0-9]+(KiB|MiB)$"), example = "64KiB", example = "1MiB")]
    bytes: Option<String>,
    /// How many there are at most. 16 if no policy says it.
    #[schemars(range(max = 128), example = 16)]
    count: Option<u8>,
}

/// Heaps by usage, such as `secure-video`, in the order of preference.
#[derive(JsonSchema)]
struct Share(
    #[schemars(extend("propertyNames" = { "pattern": "^[a-z0-9-]+$" }))]
    BTreeMap<String, Vec<Heap>>,
);

/// The name of a heap.
#[derive(JsonSchema)]
struct Heap(
    #[schemars(
        regex(pattern = r"^[!-.0-~]+$"),
        length(max = 255),
        example = "protected,secure-video"
    )]
    String,
);

/// How the name of a heap is known.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Evidence {
    /// How far it can be relied upon.
    status: Status,
    /// Where it is written.
    #[schemars(example = "https://docs.kernel.org/userspace-api/dma-buf-heaps.html")]
    source: Option<String>,
    /// How far it can be relied upon that hardware keeps other devices, and the GPU in normal mode,
    /// from the heap's memory.
    firewall: Option<Status>,
}

/// How far a heap's name can be relied upon.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Status {
    /// Somebody saw it work on this platform.
    Tested,
    /// Its vendor or the kernel documents it.
    Documented,
    /// It is a guess.
    Unverified,
}
