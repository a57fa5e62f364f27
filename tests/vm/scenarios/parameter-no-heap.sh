# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a panthor with the parameter, and no heap: nothing is written for modprobe, and panthor does not wait for one
# without: protheap

use_panthor parameter
load_model
# Of an earlier run that was killed.
mkdir -p /run/modprobe.d
echo 'options panthor protected_heap_name=gone' >"$OPTIONS"
load_tee heaps=
run_binder
check 'the binder ends well' is "$BINDER_STATUS" 0
check 'the delivery is told' is "$(state_of /delivery)" panthor-parameter
check 'the reason is named' ends unprotected no-heap
check 'no option is left' absent "$OPTIONS"
load_panthor
keep_awake
check 'panthor has no heap to wait for' holds /sys/module/panthor/parameters/protected_heap_name '(null)'
check 'and probes' is "$(driver)" panthor
check 'without a protected section' is "$(firmware_says protected-section)" none
run_binder
check 'to a later binder that is the same' ends unprotected no-heap
