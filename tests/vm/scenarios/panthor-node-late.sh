# SPDX-License-Identifier: MIT OR Apache-2.0
# about: programs that start while panthor probes wait for its render node, and fail at once if there is no driver
# tee: sim, static
# clock: instructions
# limit: 60

# The firmware runs long before panthor gets the interrupt of its boot.
load_model boot_interrupt_ms=700
load_tee
load_protheap
make_binding protected,secure-video 65536 16

# began: panthor probes in the background, and the firmware is already running
began() {
	"$@" &
	prober=$!
	need wait_until 5 is_driver_link panthor
	need wait_until 5 is_count 1 firmware_says up
	check "$*: the firmware runs before there is a render node" like "$(render_node)" '*no render node*'
	check "$*: the GPU has not probed without a render node" like "$(gpu_probed)" '*no render node*'
}
is_driver_link() { is "$(driver)" "$1"; }

began modprobe panthor
keep_groups 2 --protected --job
check 'a program that starts during the probe gets its groups' is "$(groups_said)" 'groups 2, jobs 2/2'
check 'the groups of that program have suspend buffers' is "$(attr suspend_in_use)" 2
release_groups
wait $prober
check 'panthor has probed' is $? 0

need unbind_gpu panthor
before=$(now_ms)
check 'without a driver, a program finds no device' is "$(panthor group --protected 2>&1)" ENODEV
check 'without a driver, a program does not wait for a device' at_most $(($(now_ms) - before)) 500
check 'keep_groups fails its scenario, with the reason, if there is no device' like "$(keep_groups 2 --protected)" 'not ok - keep_groups 2 --protected: saw *ENODEV*'

began bind_gpu panthor
check 'a program waits for a GPU that it names' is "$(panthor job --gpu "$GPU")" 'jobs 1/1'
wait $prober
check 'panthor is bound again' is $? 0
check 'keep_groups fails its scenario, with the reason, if groups are refused' like "$(keep_groups 64 --protected)" 'not ok - keep_groups 64 --protected: saw *ENOBUFS*'
touch /run/groups.release
check 'the program of refused groups ends' wait_until 5 holds "$CONFIG/$GPU/suspend_in_use" 0
check 'the simulated GPU reports no violation' is "$(check_model)" fine
