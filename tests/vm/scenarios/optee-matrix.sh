# SPDX-License-Identifier: MIT OR Apache-2.0
# about: one kernel and initrd on every OP-TEE: the shipped policies bind what each has
# tee: old, none, dynamic, dynamic-8m, static, ffa

load_model
load_protheap
# The bus that leads to OP-TEE has to be known before.
[ "$TEE" != ffa ] || need modprobe ffa-module
start_binder
load_tee
load_panthor
end_binder
check "$TEE: binder ends well" is "$BINDER_STATUS" 0
check "$TEE: GPU is probed" wait_until 20 gpu_probed
say "OP-TEE $(tee_revision), held $(state_of /gpus/0/held_us) us"
case $TEE in
old | none)
	check "$TEE: state.json says that there is no heap" ends unprotected no-heap
	check "$TEE: protheapctl names dmesg" like "$(protheapctl status)" '*dmesg*'
	check "$TEE: GPU was not held" at_most "$(state_of /gpus/0/held_us)" 1000000
	finish
	exit
	;;
# A pool of 1 MiB has 256 KiB for the firmware and 12 buffers of 64 KiB.
dynamic | ffa) buffers=12 ;;
*) buffers=16 ;;
esac
check "$TEE: binding is in use" is "$(attr state)" in-use
check "$TEE: state.json says bound" ends bound ''
check "$TEE: heap is the one of the policy" is "$(attr heap)" protected,secure-video
check "$TEE: exporter is the kernel's TEE heap" is "$(attr exporter)" tee
check "$TEE: firmware buffer is there" is "$(attr firmware_bytes)" 262144
check "$TEE: as many suspend buffers as the pool has" is "$(state_of /gpus/0/suspend_buffers)" $buffers
check "$TEE: kernel counts the same memory" is "$(given_out)" $((262144 + buffers * 65536))
check "$TEE: firmware section is in protected memory" is "$(firmware_says protected-section)" carve-out
keep_groups 2 --protected --job
check "$TEE: protected groups have suspend buffers" is "$(attr suspend_in_use)" 2
check "$TEE: model denied nothing" is "$(model denied)" 0
release_groups
check "$TEE: model has nothing to complain of" is "$(check_model)" fine
all_comes_back
