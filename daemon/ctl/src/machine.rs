// SPDX-License-Identifier: MIT OR Apache-2.0

//! The examined machine: this one, the tree of another one, or the device tree of a board.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::devicetree::{DeviceTree, Node, OKAY, overlay};
use anyhow::{Result, bail};
use protheap_board::module::ABI;
use protheap_board::root::{self, Root};
use protheap_board::{Problem, devices, kernel, policies, soc};
use protheap_core::facts::{Facts, Gpu, HeapModule, Kernel, Module, Provider};
use protheap_policy::cascade::{DEFAULT, Judged, keys};
use protheap_policy::name::DeviceName;
use protheap_policy::policy::Policy;
use protheap_runtime::survey::{Extent, read_facts, read_policies};

/// Maximum size of a device tree blob, in bytes. Debian's have less than 400 KiB.
const LARGEST_BLOB: usize = 16 << 20;
/// Maximum number of GPUs of a board.
const MOST_GPUS: usize = 64;
/// Maximum number of provider nodes to examine.
const MOST_PROVIDERS: usize = 64;
/// Compatible string of Valhall GPUs for Arm's kernel driver (kbase). No driver of kernel.org has it.
const ARM_VALHALL: &str = "arm,mali-valhall";
/// Compatible strings that Arm's kernel driver has for GPUs of any generation. In kernel.org they
/// are those of older GPUs, which have no CSF.
const ARM_ANY: [&str; 2] = ["arm,mali-bifrost", "arm,mali-midgard"];
/// Directory of the platform devices.
const PLATFORM: &str = "sys/bus/platform/devices";

/// Which machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// Inspect the machine whose directory tree is at DIR, such as an unpacked image
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    root: PathBuf,
    /// Inspect the board of this device tree blob, with the policies and modules of the root
    #[arg(long, value_name = "FILE")]
    dtb: Option<PathBuf>,
    /// Apply this overlay to the device tree blob, by fdtoverlay; can be repeated
    #[arg(long, value_name = "FILE", requires = "dtb")]
    overlay: Vec<PathBuf>,
}

/// A machine, and the policy that applies to it.
#[derive(Debug)]
pub(crate) struct Machine {
    /// The policy.
    pub(crate) policy: Policy,
    /// Policy files of the board, the most general first.
    pub(crate) files: Vec<Judged>,
    /// Set if the files are incomplete because this user may not read all of them.
    pub(crate) denied: Option<Problem>,
    /// Local files beside the image's policies that do not apply to this board.
    pub(crate) elsewhere: Vec<String>,
    /// Facts about the machine.
    pub(crate) facts: Facts,
    /// GPUs with a node in the device tree, by device name.
    pub(crate) nodes: BTreeMap<String, Node>,
    /// Nodes that describe a GPU for Arm's own kernel driver.
    pub(crate) arm_nodes: Vec<Node>,
    /// Whether the machine boots with ACPI and has no device tree.
    pub(crate) is_acpi: bool,
    /// The device tree.
    pub(crate) tree: DeviceTree,
    /// Whether only the device tree of the board is known.
    pub(crate) is_blob: bool,
    /// Root of the files that are read.
    pub(crate) root: Root,
    /// Files and attributes that could not be used.
    pub(crate) problems: Vec<Problem>,
}

impl Which {
    /// Selects the machine with this root.
    pub(crate) fn root(root: &Path) -> Self {
        Self { root: root.to_owned(), dtb: None, overlay: Vec::new() }
    }
}

impl Machine {
    /// Reads the policy and the facts. Changes nothing, and allocates from no heap.
    pub(crate) fn look(which: &Which) -> Result<Self> {
        let machine = Self::see(which)?;
        // Without all policies, the result would differ from that of the boot.
        match machine.denied {
            Some(problem) => Err(problem.into()),
            None => Ok(machine),
        }
    }

    /// Reads them as [`Self::look`] does, even if this user may not read all policies.
    pub(crate) fn see(which: &Which) -> Result<Self> {
        let root = Root::open(&which.root)?;
        let mut problems = Vec::new();
        let tree = read_tree(which, &root, &mut problems)?;
        let (platform, bad) = tree.platform();
        for bad in bad {
            let path = match &which.dtb {
                Some(path) => path.to_string_lossy().into_owned(),
                None => root.shown("sys/firmware/devicetree/base/compatible"),
            };
            problems.push(Problem { path, message: format!("{bad}, skipping it") });
        }
        let mut kernel = kernel::read(&root, &mut problems);
        if kernel::hides_module(&root) {
            // The module is loaded. Only whether it can allocate is unknown.
            kernel.module = Some(Module { abi: ABI, can_allocate: false });
        }
        if which.dtb.is_some() && root.is_running() {
            // The board of the device tree runs another kernel.
            kernel.lockdown = false;
        }
        let (policy, files) =
            read_policies(&root, &platform.compatible, kernel.lockdown, Extent::All, &mut problems);
        let denied = policies::denied(&root, &files);
        let elsewhere = policies::elsewhere(&root, &keys(&platform.compatible), &mut problems);
        let gpus: Vec<_> = tree.nodes_compatible(&devices::GPUS).take(MOST_GPUS + 1).collect();
        if gpus.len() > MOST_GPUS {
            bail!("the device tree has more than {MOST_GPUS} GPUs");
        }
        let mut nodes = BTreeMap::<String, Node>::new();
        for node in gpus {
            // A name stands for one device: the kernel creates it from a node that is okay.
            if nodes.get(&node.device).is_none_or(|known| known.status != OKAY) {
                nodes.insert(node.device.clone(), node);
            }
        }
        let mut facts = if which.dtb.is_some() {
            facts_of_blob(&tree, &nodes, kernel, &root, &policy)
        } else {
            let mut facts = read_facts(&root, kernel, &policy, false, &mut problems);
            if !root.is_directory(PLATFORM) {
                add_gpus(&nodes, &mut facts);
            }
            facts.socs = soc::read(&root, &mut problems);
            // The kernel creates no device for such a node, even if the tree contains one.
            let is_okay = |device: &DeviceName| {
                nodes.get(device.as_str()).is_none_or(|node| node.status == OKAY)
            };
            facts.gpus.retain(|device, _| is_okay(device));
            facts
        };
        facts.platform = platform;
        facts.inert_nodes = inert_nodes(&tree, &policy, &facts);
        let is_blob = which.dtb.is_some();
        let is_acpi = !is_blob
            && facts.platform.compatible.is_empty()
            && root.is_directory("sys/firmware/acpi");
        let arm_nodes = arm_nodes(&tree, &policy);
        Ok(Self {
            policy,
            files,
            denied,
            elsewhere,
            facts,
            nodes,
            arm_nodes,
            is_acpi,
            tree,
            is_blob,
            root,
            problems,
        })
    }

    /// Returns the status of a GPU's node. A GPU without a node is okay.
    pub(crate) fn status(&self, device: &str) -> &str {
        self.nodes.get(device).map_or(OKAY, |node| &node.status)
    }
}

/// Returns the nodes that describe a GPU for Arm's kernel driver. A name that kernel.org has for
/// older GPUs counts only if the SoC has a policy, because then its GPU is a CSF GPU.
fn arm_nodes(tree: &DeviceTree, policy: &Policy) -> Vec<Node> {
    let is_known = policy.keys().iter().any(|key| key.as_str() != DEFAULT);
    let mut wanted = vec![ARM_VALHALL];
    wanted.extend(ARM_ANY.iter().filter(|_| is_known));
    let is_csf =
        |node: &Node| node.compatible.iter().any(|one| devices::GPUS.contains(&one.as_str()));
    tree.nodes_compatible(&wanted).filter(|node| !is_csf(node)).take(MOST_GPUS).collect()
}

fn read_tree(which: &Which, root: &Root, problems: &mut Vec<Problem>) -> Result<DeviceTree> {
    let Some(path) = &which.dtb else {
        let tree = DeviceTree::of_root(root, problems);
        // Without the complete tree, any result would be wrong.
        return match problems.first() {
            Some(problem) => bail!("failed to identify the board: {problem}"),
            None => Ok(tree),
        };
    };
    let parse = |blob: &[u8]| {
        DeviceTree::of_blob(blob).map_err(|error| {
            let path = path.to_string_lossy().into_owned();
            Problem { path, message: error.to_string() }
        })
    };
    let blob = root::read_file(path, LARGEST_BLOB)?;
    let tree = parse(&blob)?;
    if which.overlay.is_empty() {
        return Ok(tree);
    }
    let blob = overlay::apply(overlay::PROGRAM, blob, &which.overlay)?;
    Ok(parse(&blob)?)
}

/// Assumes facts about a board of which only the device tree is known: a kernel with all parts of
/// Protheap, and a driver for each provider node.
fn facts_of_blob(
    tree: &DeviceTree,
    nodes: &BTreeMap<String, Node>,
    kernel: Kernel,
    root: &Root,
    policy: &Policy,
) -> Facts {
    let module = Module { abi: ABI, can_allocate: false };
    // The running kernel is that of another machine.
    let release = if root.is_running() { String::new() } else { kernel.release.clone() };
    let kernel = Kernel { release, module: Some(module), ..kernel };
    let mut facts = Facts { kernel, ..Facts::default() };
    add_gpus(nodes, &mut facts);
    // Nothing is known of the board's modules.
    let modules = policy.module_names().into_iter();
    facts.heap_modules = modules.map(|name| (name.to_owned(), HeapModule::Installed)).collect();
    let mut wanted = policy.provider_compatibles();
    wanted.push(devices::OPTEE);
    // The kernel creates no devices for the nodes of reserved memory, with a few exceptions
    // (`reserved_mem_matches`, drivers/of/platform.c).
    let is_device =
        |node: &Node| node.status == OKAY && !node.path.starts_with("/reserved-memory/");
    let nodes = tree.nodes_compatible(&wanted).filter(is_device);
    for node in nodes.take(MOST_PROVIDERS) {
        if let Ok(device) = DeviceName::new(&node.device) {
            let compatible = node.compatible;
            let provider = Provider { compatible, loadable: true, ..Provider::default() };
            facts.providers.insert(device, provider);
        }
    }
    facts
}

/// Returns the nodes that have a compatible string which a `provider` names and no device, by that
/// string. On a running board, a node below `/reserved-memory` is one, and a disabled node.
fn inert_nodes(tree: &DeviceTree, policy: &Policy, facts: &Facts) -> BTreeMap<String, String> {
    let named = policy.provider_compatibles();
    let mut inert = BTreeMap::new();
    for node in tree.nodes_compatible(&named).take(MOST_PROVIDERS) {
        if DeviceName::new(&node.device).is_ok_and(|name| facts.providers.contains_key(&name)) {
            continue;
        }
        for compatible in node.compatible.iter().filter(|one| named.contains(&one.as_str())) {
            inert.entry(compatible.clone()).or_insert_with(|| node.path.clone());
        }
    }
    inert
}

/// Adds the GPUs for which the kernel would create devices.
fn add_gpus(nodes: &BTreeMap<String, Node>, facts: &mut Facts) {
    for node in nodes.values().filter(|node| node.status == OKAY) {
        if let Ok(device) = DeviceName::new(&node.device) {
            let compatible = node.compatible.clone();
            facts.gpus.insert(device, Gpu { compatible, ..Gpu::default() });
        }
    }
}
