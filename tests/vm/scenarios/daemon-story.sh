# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the daemon continues the timeline of the binder, and adopts a binding whatever state.json contains
# limit: 60

# story: prints how long the GPU was held, and the times of three steps
story() { echo "$(state_of /gpus/0/held_us) $(step_us hold-started) $(step_us heap-appeared) $(step_us bound)"; }
adopted() { is "$(attr state) $(ends in-use adopted) $(buffers)" 'in-use  17'; }

load_protheap
load_tee delay_ms=700
start_binder
load_gpu
end_binder
need wait_until 5 gpu_probed
binder=$(story)
check 'the binder held the GPU' at_least "$(state_of /gpus/0/held_us)" 100000
start_daemon
check 'the daemon adopts the binding' adopted
check 'the daemon keeps the timeline of the binder' is "$(story)" "$binder"
check 'the daemon adds a step to the timeline' at_least "$(step_us in-use)" "$(step_us bound)"
check 'state.json names the policy that bound the heap' is "$(state_of /gpus/0/policy)" rockchip,rk3588
for round in 1 2 3; do
	stop_daemon KILL
	start_daemon
	check "killed, $round: the daemon keeps the timeline" is "$(story)" "$binder"
done
stop_daemon

# left WHAT: starts the daemon with a state.json of that kind
left() {
	start_daemon
	check "state.json is $1: the daemon adopts the binding" adopted
	check 'the daemon replaces state.json by a regular file' is "$(stat -c %F $STATE) $(state_of /schema)" 'regular file 1'
	check 'the daemon starts a new timeline' fails step_us hold-started
	stop_daemon
}

cp $STATE /run/good
sed 's/"schema":1/"schema":2/' /run/good >$STATE
left 'of another schema'
: >$STATE
left 'empty'
head -c 1000 /run/good >$STATE
left 'half a file'
head -c 65536 /dev/urandom >$STATE
left 'garbage'
{ sed 's/}$/,"x":"/' /run/good; head -c 2097152 /dev/zero | tr '\0' x; echo '"}'; } >$STATE
left 'of 2 MiB'
echo keep >/run/mine
ln -sf /run/mine $STATE
left 'a link'
check 'the target of the link is unchanged' holds /run/mine keep
ln -sf /dev/zero $STATE
left 'a link to an endless file'
rm $STATE
mkfifo $STATE
left 'a pipe'
check 'protheapd logs no unexpected line' empty complaints
