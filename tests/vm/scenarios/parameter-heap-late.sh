# SPDX-License-Identifier: MIT OR Apache-2.0
# about: panthor has the parameter, and its heap never comes: the boot waits for the hold, and no longer than the binder
# without: protheap

use_panthor parameter
load_tee delay_ms=-1
protheap-bind >/run/binder.log 2>&1 &
BINDER=$!
need wait_until 5 exists "$STATE"
need kill -KILL "$BINDER"
check 'of a binder that was killed nothing is left' absent "$OPTIONS"

before=$(now_ms)
start_binder
check 'the boot waited for the whole hold' at_least $(($(now_ms) - before)) 4900
end_binder
check 'the binder ends well' is "$BINDER_STATUS" 0
check 'the reason is named' ends unprotected heap-late
check 'no option is set' absent "$OPTIONS"
