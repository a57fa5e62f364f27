// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl schema`: the JSON Schema of policies, for editors.

#![allow(dead_code, reason = "the types are only described, never constructed")]

use std::collections::BTreeMap;

use anyhow::Result;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

/// It takes no options.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The schema follows draft 2020-12 of JSON Schema. Editors that use taplo find it by a first line \
such as `#:schema policy.schema.json` in the policy. It describes the syntax only; `protheapctl \
check` finds more problems.")]
pub(crate) struct Args {}

/// Makes the schema.
pub(crate) fn run() -> Result<String> {
    let plain = RecursiveTransform(plain as fn(&mut Schema));
    let settings = SchemaSettings::draft2020_12().with_transform(plain);
    let schema = settings.into_generator().into_root_schema_for::<Policy>();
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

/// Removes what TOML does not have: `null`, and widths of integers.
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

/// Heaps of the GPUs and media pipelines of boards with one compatible string, which is the name of
/// the file.
#[derive(JsonSchema)]
#[schemars(title = "Protheap policy", deny_unknown_fields)]
struct Policy {
    /// Version of the format.
    #[schemars(range(min = 1, max = 1))]
    schema: u8,
    /// Description for people.
    #[schemars(example = "Acme A9 family")]
    description: Option<String>,
    /// Settings of GPUs, by compatible string or device name.
    gpu: Option<BTreeMap<String, Gpu>>,
    /// Heaps that the devices of a media pipeline can use, by compatible string or device name, and
    /// by usage; in order of preference.
    share: Option<BTreeMap<String, Share>>,
    /// Evidence for heap names, by heap name.
    evidence: Option<BTreeMap<String, Evidence>>,
}

/// Settings of a GPU.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Gpu {
    /// Candidates in order of preference. The first heap that is present, meets its conditions, and
    /// passes the checks is bound.
    heaps: Option<Vec<Candidate>>,
    /// When the heap is bound: `boot`, before the GPU driver probes; or `demand`, when the first
    /// protected group is created or a client requests it. The default is `boot`.
    bind: Option<Bind>,
    /// Time for which the probe of the GPU is held at most, up to 10 seconds. The default is 5
    /// seconds.
    #[schemars(regex(pattern = r"^[0-9]+(ms|s)$"), example = "5s", example = "250ms")]
    hold: Option<String>,
    /// Suspend buffers of protected command stream groups.
    suspend: Option<Suspend>,
    /// Directory of the firmware image that the GPU loads.
    #[schemars(regex(pattern = r"^arch[0-9]+\.[0-9]+$"), example = "arch10.8")]
    firmware: Option<String>,
    /// Whether a heap that the CPU can map may be bound; for driver bring-up only.
    allow_unprotected: Option<bool>,
}

/// When a heap is bound.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Bind {
    /// Before the GPU driver probes.
    Boot,
    /// When the first protected group is created, or when a client requests it.
    Demand,
}

/// A heap that may be bound, and its conditions, all of which must be met.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Candidate {
    /// Name of the heap; with a `*` at the end, the only heap whose name begins with this prefix.
    #[schemars(
        regex(pattern = r"^[!-)+-.0-~]+\*?$"),
        length(max = 256),
        example = "protected,secure-video",
        example = "protected,*"
    )]
    name: String,
    /// Required TEE.
    tee: Option<Tee>,
    /// Required revisions of the TEE. A TEE that does not report its revision never matches.
    #[schemars(regex(pattern = RANGE), example = ">=4.2, <4.6")]
    tee_revision: Option<String>,
    /// Required releases of the kernel, compared by the number that they begin with.
    #[schemars(regex(pattern = RANGE), example = ">=7.3")]
    kernel: Option<String>,
    /// Required contents of `/sys/bus/soc/devices/soc*/soc_id`.
    #[schemars(example = "i.MX95")]
    soc_id: Option<String>,
    /// Required revisions of the SoC.
    #[schemars(regex(pattern = RANGE), example = ">=2.0", example = ">=0x10")]
    soc_revision: Option<String>,
    /// Compatible string of the node whose driver registers the heap. The GPU is held until this
    /// driver has probed.
    #[schemars(example = "acme,a9-svp")]
    provider: Option<String>,
    /// Name of the kernel module that registers the heap without a device. The GPU is held until
    /// the module is loaded, if it is installed. It cannot be combined with `provider`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,55}$"), example = &"restricted_heap")]
    module: Option<String>,
}

/// Bounds with commas between them. Each has an operator and dotted numbers.
const RANGE: &str = r"^ *(<=|>=|<|>|=) *(0x[0-9a-fA-F]+|[0-9]+)(\.(0x[0-9a-fA-F]+|[0-9]+))* *(, *(<=|>=|<|>|=) *(0x[0-9a-fA-F]+|[0-9]+)(\.(0x[0-9a-fA-F]+|[0-9]+))* *)*$";

/// A TEE for which the kernel has a driver.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Tee {
    Optee,
    Amdtee,
    Tstee,
    Qtee,
}

/// Suspend buffers of a GPU.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Suspend {
    /// Size of each buffer until the firmware reports its own, up to 16MiB. The default is 64KiB.
    #[schemars(regex(pattern = r"^[0-9]+(KiB|MiB)$"), example = "64KiB", example = "1MiB")]
    bytes: Option<String>,
    /// Maximum number of buffers. The default is 16.
    #[schemars(range(max = 128), example = 16)]
    count: Option<u8>,
}

/// Heaps by usage, such as `secure-video`, in order of preference.
#[derive(JsonSchema)]
struct Share(
    #[schemars(extend("propertyNames" = { "pattern": "^[a-z0-9-]+$" }))]
    BTreeMap<String, Vec<Heap>>,
);

/// Name of a heap.
#[derive(JsonSchema)]
struct Heap(
    #[schemars(
        regex(pattern = r"^[!-.0-~]+$"),
        length(max = 255),
        example = "protected,secure-video"
    )]
    String,
);

/// Evidence for the name of a heap.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Evidence {
    /// Reliability of the name.
    status: Status,
    /// Source of the information.
    #[schemars(example = "https://docs.kernel.org/userspace-api/dma-buf-heaps.html")]
    source: Option<String>,
    /// Reliability of the information that hardware keeps other devices, and the GPU in normal mode,
    /// from accessing the heap's memory.
    firewall: Option<Status>,
    /// Version of the kernel with which the heap was seen, or that documents it.
    #[schemars(length(min = 1, max = 100), example = "7.3.4")]
    kernel: Option<String>,
    /// Version of the firmware with which the heap was seen, or that documents it.
    #[schemars(length(min = 1, max = 100), example = "OP-TEE 4.9.0")]
    firmware: Option<String>,
    /// Date of the observation.
    #[schemars(regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), example = "2026-11-30")]
    date: Option<String>,
    /// Person or organisation that made the observation.
    #[schemars(length(min = 1, max = 200), example = "Jane Doe, Acme")]
    observer: Option<String>,
    /// Address of a public source.
    #[schemars(
        regex(pattern = r"^https://[A-Za-z0-9]"),
        length(max = 500),
        example = "https://docs.kernel.org/userspace-api/dma-buf-heaps.html"
    )]
    link: Option<String>,
}

/// Reliability of information.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Status {
    /// It was tested on this platform.
    Tested,
    /// The vendor or the kernel documents it.
    Documented,
    /// It is a guess.
    Unverified,
}
