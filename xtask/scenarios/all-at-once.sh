# SPDX-License-Identifier: MIT OR Apache-2.0
# about: binders, buffers and the GPU's driver come and go all at once: nothing hangs, nothing leaks
# source: handed
# smp: 4
# limit: 180

load_tee
load_protheap
load_gpu
TEE=protected,secure-video
# again COMMAND...: until enough has happened, whatever it says
again() {
	while [ ! -e /run/enough ]; do "$@"; done >/dev/null 2>&1 &
	ALL="$ALL $!"
}
bind() {
	mkdir "$CONFIG/$GPU"
	store heap $TEE
	store suspend_bytes 4096
	store suspend_count 3
	hand_over firmware $TEE 262144
	hand_over suspend $TEE 65536 --count 2
	store commit bind
}
# Both leave the others some time, or nothing is ever bound.
refuse() {
	sleep 0.1
	mkdir "$CONFIG/$GPU" || return
	store hold_ms 5
	store commit none
	rmdir "$CONFIG/$GPU"
}
withdraw() {
	sleep 0.3
	rmdir "$CONFIG/$GPU"
}
look() { cat "$CONFIG/$GPU"/*; }
rebind() {
	sleep 0.03
	echo "$GPU" >/sys/bus/platform/drivers/csfgpu/unbind
	echo "$GPU" >/sys/bus/platform/drivers/csfgpu/bind
}
groups() {
	create_group
	create_group
	destroy_group
}
ALL=''
again bind
again bind
again refuse
again withdraw
again look
again rebind
again groups
again hand_over suspend $TEE 65536
made() { at_least "$(dmesg | grep -c "$1")" "$2"; }
sleep 6
check 'bindings were made' wait_until 40 made 'bound to protected' 3
check 'also while the driver was there' wait_until 40 made 'protected mode, late' 1
touch /run/enough
for process in $ALL; do wait "$process"; done

[ -e "$DEVICES/$GPU/driver" ] || rebind
rmdir "$CONFIG/$GPU" 2>/dev/null
need modprobe -r csfgpu
check 'a binding can still be made' wait_until 2 mkdir "$CONFIG/$GPU"
bind >/dev/null 2>&1
check 'and is' is "$(attr state)" bound
load_gpu
check 'and used' is "$(attr state) $(gpu bound)" 'in-use 1'
need modprobe -r csfgpu
need rmdir "$CONFIG/$GPU"
check 'nothing leaks' wait_until 2 is_zero buffers
check 'nothing keeps the module' modprobe -r protheap
check 'the kernel has nothing to complain of' is "$(dmesg | grep -E 'BUG|WARNING|Oops|refcount' | head -3)" ''
