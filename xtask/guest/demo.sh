# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The demo's guest: the TEE needs two seconds, everything else is there at once.

load_protheap
load_tee delay_ms=2000
protheap-guest watch "$GPU" 20 &
WATCH=$!
start_binder
load_gpu
wait_until 20 gpu_probed
# Nothing is left to wait for without a buffer.
create_group || kill $WATCH
wait $WATCH
end_binder
[ $BINDER_STATUS = 0 ] || cat /run/binder.log
protheap-guest report "$GPU"
