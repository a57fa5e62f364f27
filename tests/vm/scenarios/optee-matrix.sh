# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the same kernel, initrd and shipped policies bind the heap of every supported OP-TEE
# tee: old, none, dynamic, dynamic-8m, static, ffa

load_model
load_protheap
# The FF-A bus has to exist before the binder starts.
[ "$TEE" != ffa ] || need modprobe ffa-module
start_binder
load_tee
load_panthor
end_binder
check "$TEE: the binder exits with status 0" is "$BINDER_STATUS" 0
check "$TEE: the GPU probes" wait_until 20 gpu_probed
say "OP-TEE $(tee_revision), held $(state_of /gpus/0/held_us) us"
case $TEE in
old | none)
	check "$TEE: state.json reports state unprotected and reason no-heap" ends unprotected no-heap
	check "$TEE: protheapctl refers to dmesg" like "$(protheapctl status)" '*dmesg*'
	check "$TEE: the GPU is held for at most 1 s" at_most "$(state_of /gpus/0/held_us)" 1000000
	finish
	exit
	;;
# A pool of 1 MiB has 256 KiB for the firmware and 12 buffers of 64 KiB.
dynamic | ffa) buffers=12 ;;
*) buffers=16 ;;
esac
check "$TEE: the GPU uses the binding" is "$(attr state)" in-use
check "$TEE: state.json reports state bound" ends bound ''
check "$TEE: the binding has the heap of the policy" is "$(attr heap)" protected,secure-video
check "$TEE: the exporter is the TEE heap of the kernel" is "$(attr exporter)" tee
check "$TEE: the binding has the firmware buffer" is "$(attr firmware_bytes)" 262144
check "$TEE: the binding has the suspend buffers that fit the pool" is "$(state_of /gpus/0/suspend_buffers)" $buffers
check "$TEE: the kernel counts the same memory as the binding" is "$(given_out)" $((262144 + buffers * 65536))
check "$TEE: the protected section is in the carve-out" is "$(firmware_says protected-section)" carve-out
keep_groups 2 --protected --job
check "$TEE: two protected groups have suspend buffers" is "$(attr suspend_in_use)" 2
check "$TEE: the bus denies no access" is "$(model denied)" 0
release_groups
check "$TEE: the simulated GPU reports no violation" is "$(check_model)" fine
all_comes_back
