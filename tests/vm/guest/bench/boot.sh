# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Measures a boot until the GPU has probed, with the binder if the command line has xtask.bench=bind.

load_protheap
load_tee
if grep -q xtask.bench=bind /proc/cmdline; then
	run_binder
	need is "$BINDER_STATUS" 0
fi
load_gpu
need gpu_probed
if grep -q xtask.bench=bind /proc/cmdline; then
	need is "$(attr state)" in-use
fi
echo "figure probed-us $(gpu probed_at_us)"
