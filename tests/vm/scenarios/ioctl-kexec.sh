# SPDX-License-Identifier: MIT OR Apache-2.0
# about: before kexec starts another kernel, the firmware buffer that was set by ioctl returns to the TEE
# tee: sim, dynamic-8m
# without: protheap
# leave: kexec
# says: simtee: shut down with 0 bytes given out

load_model
load_tee
load_panthor
start_daemon
check 'the daemon sets the buffer' ends in-use ''
check 'protected jobs run' is "$(panthor protected-job --own-suspend --count 3)" 'protected-jobs 3/3'
stop_daemon
check 'the driver keeps the buffer after the daemon has ended' is "$(firmware_says protected-section)" carve-out
check 'the TEE has allocated the buffer' is "$(given_out)" 262144
