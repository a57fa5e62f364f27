# SPDX-License-Identifier: MIT OR Apache-2.0
# about: eight processes call the driver with random and invalid arguments for ten minutes while allocations fail, and no resource leaks
# kernel: debug
# overlay: second-gpu
# smp: 2
# clock: host
# why: system calls race only on processors that run in parallel
# limit: 240

echo N >/sys/kernel/debug/failslab/ignore-gfp-wait
for kind in failslab fail_usercopy; do
	echo 0 >/sys/kernel/debug/$kind/verbose
	echo Y >/sys/kernel/debug/$kind/task-filter
	echo -1 >/sys/kernel/debug/$kind/times
done
# fail_workers PERCENT: makes allocations of kernel workers fail, which probe drivers late and notify them
fail_workers() {
	for process in /proc/[0-9]*; do
		case $(cat "$process/comm" 2>/dev/null) in kworker*) echo 1 >"$process/make-it-fail" ;; esac
	done 2>/dev/null
	echo "$1" >/sys/kernel/debug/failslab/probability
}
# The modules are loaded again for each round, because a device is held only once.
for round in 1 2 3 4 5; do
	load_tee
	load_protheap
	load_gpu
	fail_workers $((round % 2))
	storm fuzz 120 $((SEED + round))
	fail_workers 0
	check_idle
done
say "$(sed 's/ .*//' /run/counts | sort -u | while read -r name; do echo "$name $(count "$name")"; done | tr '\n' ' ')"
check 'the processes make at least 20000 steps' at_least "$(count step)" 20000
for what in ioctl mkdir rmdir store read open kept-read kept-read-ENOENT kept-store-ENOENT bound driver-bind driver-unbind group fault; do
	check "the processes count $what at least 20 times" at_least "$(count $what)" 20
done
for errno in EBADF EINVAL EFAULT ENODEV EOPNOTSUPP EMSGSIZE EMEDIUMTYPE EEXIST EBUSY; do
	check "the kernel refuses an ioctl with $errno" at_least "$(count ioctl-$errno)" 1
done
check 'the kernel refuses unknown ioctls at least 100 times' at_least "$(count other-ioctl-ENOTTY)" 100
