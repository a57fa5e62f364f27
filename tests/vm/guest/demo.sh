# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The guest of `demo`: the driver of the TEE probes late, all other drivers at once. The real panthor drives the
# simulated GPU.

load_model
load_protheap
load_tee
protheap-guest watch "$GPU" /run/demo.over 20 &
WATCH=$!
start_binder
load_panthor
need wait_until 20 gpu_probed
keep_groups 2 --protected
need panthor protected-job --count 3
touch /run/demo.over
wait $WATCH
end_binder
[ $BINDER_STATUS = 0 ] || cat /run/binder.log
protheap-guest report "$GPU"
release_groups
