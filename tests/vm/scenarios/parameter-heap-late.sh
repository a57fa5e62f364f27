# SPDX-License-Identifier: MIT OR Apache-2.0
# about: with the parameter of panthor and a heap that never appears, the boot waits for the hold timeout, and only while the binder runs
# without: protheap

use_panthor parameter
load_tee delay_ms=-1
protheap-bind >/run/binder.log 2>&1 &
BINDER=$!
need wait_until 5 exists "$STATE"
need kill -KILL "$BINDER"
check 'a killed binder leaves no option for modprobe' absent "$OPTIONS"

before=$(now_ms)
start_binder
check 'the boot waits for the whole hold' at_least $(($(now_ms) - before)) 4900
end_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
check 'state.json reports state unprotected and reason heap-late' ends unprotected heap-late
check 'the binder sets no option for modprobe' absent "$OPTIONS"
