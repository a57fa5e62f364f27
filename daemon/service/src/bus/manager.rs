// SPDX-License-Identifier: MIT OR Apache-2.0

//! `org.protheap1.Manager`.

use std::collections::{BTreeMap, HashMap};

use protheap_board::nodes::{self, NodeError};
use protheap_client::{Error, gpu_path, heap_path};
use protheap_core::engine::Machine as _;
use protheap_core::share::{Number, Question, ShareError, find};
use protheap_core::state_file::HeapEvidence;
use protheap_policy::sanitize;
use protheap_policy::schema::EvidenceStatus;
use zbus::message::Header;
use zbus::zvariant::Variant;
use zbus::{Connection, ObjectPath, OwnedObjectPath, interface};

use super::failure::Failure;
use super::{Property, heap};
use crate::authority::{Action, allow};
use crate::bindings::Bindings;
use crate::snapshot::Snapshot;

/// Maximum length of a usage in bytes, and maximum number of devices: no pipeline has more.
const LONGEST_USAGE: usize = 64;
const MOST_DEVICES: usize = 64;

#[derive(Debug)]
pub(super) struct Manager {
    bindings: Bindings,
}

impl Manager {
    pub(super) fn new(bindings: Bindings) -> Self {
        Self { bindings }
    }
}

/// Returns the properties whose changes are signalled.
pub(super) fn signalled(snapshot: &Snapshot) -> Vec<Property> {
    vec![
        ("Policies", policies(snapshot).into()),
        ("Delivery", snapshot.engine.facts().delivery().as_str().into()),
    ]
}

fn policies(snapshot: &Snapshot) -> Vec<String> {
    snapshot.engine.policy().keys().into_iter().map(ToString::to_string).collect()
}

#[interface(name = "org.protheap1.Manager")]
impl Manager {
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn compatible(&self) -> Vec<String> {
        self.bindings.now().engine.facts().platform.compatible.clone()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn model(&self) -> String {
        self.bindings.now().engine.facts().platform.model.clone().unwrap_or_default()
    }

    #[zbus(property)]
    fn policies(&self) -> Vec<String> {
        policies(&self.bindings.now())
    }

    #[zbus(property)]
    fn delivery(&self) -> &'static str {
        self.bindings.now().engine.facts().delivery().as_str()
    }

    #[zbus(out_args("heap", "name", "details"))]
    fn find_heap(
        &self,
        usage: &str,
        devices: Vec<(u32, u32)>,
        options: &HashMap<String, Variant<'_>>,
    ) -> Result<(OwnedObjectPath, String, HashMap<&'static str, Variant<'static>>), Failure> {
        let snapshot = self.bindings.now();
        let allow_unknown = bounded(usage, &devices, options)?;
        let mut identified = BTreeMap::new();
        for (major, minor) in devices {
            let number = Number { major, minor };
            let device = match nodes::read(self.bindings.root(), number) {
                // A device that does not exist is an error even if `allow-unknown` is set.
                Err(error @ NodeError::Absent(_)) => {
                    return Err(Error::UnknownDevice(error.to_string()).into());
                }
                read => read.map_err(|error| error.to_string()),
            };
            identified.insert(number, device);
        }
        let (policy, facts) = (snapshot.engine.policy(), snapshot.engine.facts());
        let question = Question { usage, devices: &identified, heaps: &facts.heaps, allow_unknown };
        let answer = find(policy, question).map_err(|error| match error {
            ShareError::Usage(_) | ShareError::NoDevice => {
                Error::InvalidArgument(error.to_string())
            }
            ShareError::UnknownDevice(_) => Error::UnknownDevice(error.to_string()),
            ShareError::NoCommonHeap { .. } => Error::NoCommonHeap(error.to_string()),
        })?;
        let evidence = HeapEvidence::of(policy, &answer.heap);
        let judged = heap::judged(&snapshot, &answer.heap);
        let unknown: Vec<_> = answer.unknown.iter().map(|n| (n.major, n.minor)).collect();
        let details = HashMap::from([
            ("node", heap::node(&answer.heap).into()),
            ("protection", judged.protection.into()),
            ("exporter", judged.exporter.into()),
            ("worst-rank", u32::try_from(answer.worst_rank).unwrap_or(u32::MAX).into()),
            ("unknown", unknown.into()),
            ("evidence", EvidenceStatus::optional_str(evidence.status).into()),
            ("firewall", EvidenceStatus::optional_str(evidence.firewall).into()),
        ]);
        Ok((heap_path(answer.heap.as_str()), answer.heap.to_string(), details))
    }

    #[zbus(out_args("json"))]
    fn explain(&self, gpu: &ObjectPath<'_>) -> Result<String, Failure> {
        let snapshot = self.bindings.now();
        let mut gpus = snapshot.gpus().iter();
        let report = gpus
            .find(|known| gpu_path(known.device.as_str()).as_str() == gpu.as_str())
            .ok_or_else(|| Error::NoSuchGpu(format!("{gpu} is not a GPU")))?;
        let json = serde_json::to_string(&report);
        Ok(sanitize::json(&json.map_err(|error| Error::Failed(error.to_string()))?))
    }

    async fn reload(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Failure> {
        allow(connection, &header, Action::Manage, None).await?;
        let reloaded = self.bindings.reload().await;
        Ok(reloaded.map(drop).map_err(|error| Error::Failed(error.to_string()))?)
    }
}

/// Validates the arguments. Returns whether the options allow unknown devices.
fn bounded(
    usage: &str,
    devices: &[(u32, u32)],
    options: &HashMap<String, Variant<'_>>,
) -> Result<bool, Error> {
    let invalid = |text: &str| Err(Error::InvalidArgument(text.to_owned()));
    if usage.len() > LONGEST_USAGE {
        return invalid("the usage is too long; give a word such as `secure-video`");
    }
    if devices.len() > MOST_DEVICES {
        return invalid("too many devices; give those of one pipeline");
    }
    let mut allow_unknown = false;
    for (name, value) in options {
        match (name.as_str(), value) {
            ("allow-unknown", Variant::Bool(allow)) => allow_unknown = *allow,
            ("allow-unknown", _) => return invalid("`allow-unknown` must be a boolean"),
            _ => return invalid("unknown option; only `allow-unknown` is supported"),
        }
    }
    Ok(allow_unknown)
}
