# SPDX-License-Identifier: MIT OR Apache-2.0
# about: programs that come while panthor probes wait for its render node; without a driver they fail at once
# tee: sim, static
# clock: instructions
# limit: 60

# The firmware runs long before panthor hears of it.
load_model boot_interrupt_ms=700
load_tee
load_protheap
make_binding protected,secure-video 65536 16

# began: panthor probes in the background, and the firmware runs already
began() {
	"$@" &
	prober=$!
	need wait_until 5 is_driver_link panthor
	need wait_until 5 is_count 1 firmware_says up
	check "$*: the firmware runs before there is a node" like "$(render_node)" '*no render node*'
	check "$*: so the GPU has not probed" like "$(gpu_probed)" '*no render node*'
}
is_driver_link() { is "$(driver)" "$1"; }

began modprobe panthor
keep_groups 2 --protected --job
check 'a program that comes then gets its groups' is "$(groups_said)" 'groups 2, jobs 2/2'
check 'with their suspend buffers' is "$(attr suspend_in_use)" 2
release_groups
wait $prober
check 'the driver has probed' is $? 0

need unbind_gpu panthor
before=$(now_ms)
check 'without a driver there is no device' is "$(panthor group --protected 2>&1)" ENODEV
check 'and nobody waits for one' at_most $(($(now_ms) - before)) 500
check 'groups that are not made fail their scenario, with the reason' like "$(keep_groups 2 --protected)" 'not ok - keep_groups 2 --protected: saw *ENODEV*'

began bind_gpu panthor
check 'a named GPU is waited for as well' is "$(panthor job --gpu "$GPU")" 'jobs 1/1'
wait $prober
check 'the driver is back' is $? 0
check 'groups that are refused fail their scenario, with the reason' like "$(keep_groups 64 --protected)" 'not ok - keep_groups 64 --protected: saw *ENOBUFS*'
touch /run/groups.release
check 'their program ends' wait_until 5 holds "$CONFIG/$GPU/suspend_in_use" 0
check 'the model has nothing to complain of' is "$(check_model)" fine
