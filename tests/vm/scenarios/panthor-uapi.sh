# SPDX-License-Identifier: MIT OR Apache-2.0
# about: panthor with the interface that was proposed for Linux passes its test in the style of IGT
# without: protheap

use_panthor uapi
load_model
load_tee
load_panthor
keep_awake
check 'the version is the one of the proposed interface' is "$(panthor query | sed -n 's/^version //p')" 1.10
check 'panthor has no private interface' is "$(panthor query | sed -n 's/^protected-memory //p')" ENOTTY
/lib/panthor/uapi/test >/run/igt 2>&1
check 'all subtests succeed' empty others /run/igt '^Subtest [a-z-]*: SUCCESS$'
check 'no subtest is left out' is "$(wc -l </run/igt)" 11
check 'the firmware has booted with the buffer, and without' is "$(model boots) $(firmware_says protected-section)" '3 none'
check 'all protected memory is freed' wait_until 5 is_zero given_out
check 'a program with the interface of Linux 7.3 runs jobs' is "$(panthor job --count 3)" 'jobs 3/3'
check 'the simulated GPU reports no violation' is "$(check_model)" fine
