# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a panthor without the parameter and no protheap.ko: no delivery, and nothing is written for modprobe
# without: protheap

use_panthor unmodified
load_model
load_tee
run_binder
check 'the binder ends well' is "$BINDER_STATUS" 0
check 'there is no delivery' is "$(state_of /delivery)" none
check 'the reason is named' ends unprotected no-consumer
check 'no option is set' absent /run/modprobe.d
load_panthor
check 'panthor probes as it always did' is "$(driver)" panthor
check 'this panthor has no such parameter' absent /sys/module/panthor/parameters/protected_heap_name
