# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a privileged program sets the buffer of the firmware by an ioctl, in one full reset, and no work is lost
# without: protheap
# tee: sim
# cmdline: trace_event=workqueue:workqueue_execute_start,workqueue:workqueue_execute_end trace_buf_size=16M
# limit: 60

load_model
load_tee
load_panthor
keep_awake
check 'panthor probes without protheap.ko, and without protected memory' is "$(driver) $(firmware_says protected-section)" 'panthor none'
keep_groups 3 --job
boots=$(model boots)
took=$(panthor set-firmware)
check 'the buffer is set' like "$took" 'took-us *'
check 'the firmware has booted once more when the ioctl returns' is "$(model boots)" $((boots + 1))
check 'the protected section is in the carve-out' is "$(firmware_says protected-section) $(firmware_says protected-section-pages)" 'carve-out 64'
check 'the firmware has prepared protected mode' is "$(firmware_says prepared)" 1
release_groups
check 'groups from before run a second job' is "$(groups_said)" 'groups 3, jobs 3/3, jobs 3/3, destroyed 3/3'
check 'the firmware resumes each group with the state that it saved' equal_nonzero "$(model group-resumes)" "$(model resumed-intact)"

reset=$(reset_us)
say "set-firmware: ${took#took-us } us, of which the reset takes $reset us"
check 'the kernel has traced the reset' at_least "$reset" 1
check 'the reset takes no longer than the ioctl' at_most "$reset" "${took#took-us }"

at=$(firmware_says protected-section-at)
keep_groups 2 --protected --own-suspend --job
check 'a protected group has one ordinary and one protected suspend buffer' is "$(group_buffers)" 'ordinary carve-out'
release_groups
own() { panthor protected-job --own-suspend "$@"; }
check 'protected jobs run' is "$(own --count 3)" 'protected-jobs 3/3'
let_sleep
check 'protected jobs with pauses run' is "$(own --count 3 --gap 300)" 'protected-jobs 3/3'
check 'the GPU has suspended between them' at_least "$(model resumes)" 1
keep_awake
keep_groups 1 --job
boots=$(model boots)
need inject fatal
check 'a fault makes the firmware boot again' wait_until 20 booted_since "$boots"
release_groups
check 'protected jobs run after a full reset' is "$(own --count 3)" 'protected-jobs 3/3'
check 'the protected section has not moved' is "$(firmware_says protected-section-at) $(model section-moved)" "$at 0"

boots=$(model boots)
check 'the buffer is taken back' like "$(panthor take-firmware)" 'took-us *'
check 'the firmware has booted once more without it' is "$(model boots) $(firmware_says protected-section)" "$((boots + 1)) none"
check 'all protected memory is freed' wait_until 5 is_zero given_out
check 'ordinary jobs run without it' is "$(panthor job --count 3)" 'jobs 3/3'
check 'a second buffer is set' like "$(panthor set-firmware)" 'took-us *'
check 'protected jobs run with it' is "$(own --count 3)" 'protected-jobs 3/3'
check 'the simulated GPU reports no violation' is "$(check_model)" fine
need rmmod panthor
check 'after panthor: the TEE has all memory back' wait_until 10 is_zero given_out
check 'after panthor: no dma-buf is left' wait_until 10 is_zero buffers
