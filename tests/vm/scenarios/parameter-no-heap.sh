# SPDX-License-Identifier: MIT OR Apache-2.0
# about: with the parameter of panthor and no heap, the binder sets no option for modprobe, and panthor does not wait for a heap
# without: protheap

use_panthor parameter
load_model
# A file of an earlier run that was killed.
mkdir -p /run/modprobe.d
echo 'options panthor protected_heap_name=gone' >"$OPTIONS"
load_tee heaps=
run_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
check 'state.json reports the delivery as panthor-parameter' is "$(state_of /delivery)" panthor-parameter
check 'state.json reports state unprotected and reason no-heap' ends unprotected no-heap
check 'the binder removes the stale option' absent "$OPTIONS"
load_panthor
keep_awake
check 'panthor is loaded without the name of a heap' holds /sys/module/panthor/parameters/protected_heap_name '(null)'
check 'panthor probes without a heap' is "$(driver)" panthor
check 'the firmware has no protected section' is "$(firmware_says protected-section)" none
run_binder
check 'a later binder reports state unprotected and reason no-heap' ends unprotected no-heap
