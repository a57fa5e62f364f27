# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The guest of `demo --stand-in`: the driver of the TEE probes late, all other drivers at once.

load_protheap
load_tee
protheap-guest watch "$GPU" /run/demo.over 20 &
WATCH=$!
start_binder
load_gpu
need wait_until 20 gpu_probed
need create_group
touch /run/demo.over
wait $WATCH
end_binder
[ $BINDER_STATUS = 0 ] || cat /run/binder.log
protheap-guest report "$GPU"
