# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the boot's story goes on in what the daemon tells; what nobody of this version wrote does not keep it from adopting
# limit: 60

# story: how long the GPU was held, and when what happened
story() { echo "$(state_of /gpus/0/held_us) $(step_us window-opened) $(step_us heap-appeared) $(step_us bound)"; }
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
check 'the daemon adopts' adopted
check 'and tells the story as the binder did' is "$(story)" "$binder"
check 'and goes on with it' at_least "$(step_us in-use)" "$(step_us bound)"
check 'who named the heap is known' is "$(state_of /gpus/0/policy)" rockchip,rk3588
for round in 1 2 3; do
	stop_daemon KILL
	start_daemon
	check "killed, $round: the story is the same" is "$(story)" "$binder"
done
stop_daemon

# left WHAT: state.json is that when the daemon starts
left() {
	start_daemon
	check "$1: it adopts what the kernel has" adopted
	check 'what it writes is a file' is "$(stat -c %F $STATE) $(state_of /schema)" 'regular file 1'
	check 'with a story of its own' fails step_us window-opened
	stop_daemon
}

cp $STATE /run/good
sed 's/"schema":1/"schema":2/' /run/good >$STATE
left 'of another schema'
: >$STATE
left 'empty'
head -c 1000 /run/good >$STATE
left 'half of it'
head -c 65536 /dev/urandom >$STATE
left 'garbage'
{ sed 's/}$/,"x":"/' /run/good; head -c 2097152 /dev/zero | tr '\0' x; echo '"}'; } >$STATE
left 'of 2 MiB'
echo keep >/run/mine
ln -sf /run/mine $STATE
left 'a link'
check 'what it leads to is as it was' holds /run/mine keep
ln -sf /dev/zero $STATE
left 'a link to what never ends'
rm $STATE
mkfifo $STATE
left 'a pipe'
check 'protheapd logs no complaint' empty complaints
