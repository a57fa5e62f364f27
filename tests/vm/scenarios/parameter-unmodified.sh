# SPDX-License-Identifier: MIT OR Apache-2.0
# about: with a panthor without the parameter and no protheap.ko, there is no delivery, and the binder sets no option for modprobe
# without: protheap

use_panthor unmodified
load_model
load_tee
run_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
check 'state.json reports the delivery as none' is "$(state_of /delivery)" none
check 'state.json reports state unprotected and reason no-consumer' ends unprotected no-consumer
check 'the binder makes no directory for modprobe' absent /run/modprobe.d
load_panthor
check 'panthor probes without the parameter' is "$(driver)" panthor
check 'the panthor of Linux 7.3 has no parameter protected_heap_name' absent /sys/module/panthor/parameters/protected_heap_name
