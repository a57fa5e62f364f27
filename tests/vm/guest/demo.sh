# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The demo's guest: the TEE needs its time, everything else is there at once. The real panthor drives the modelled GPU.

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
