# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a client that has the driver complain all the time does not flood the kernel's log
# tee: sim, static
# clock: instructions
# limit: 60

bound_panthor 4
need wait_until 5 gpu_probed
from=$(now_ms)
check 'groups are lost' is "$(panthor lose-groups --count 100)" 'lost 100'
took=$(($(now_ms) - from))
said=$(dmesg | grep -c 'Unprotected group wants protected mode: pid=.*, comm=protheap-guest')
say "$said lines in $took ms"
check 'the log has some of them' at_least "$said" 1
# The kernel's rate limit is 10 in 5 s.
check 'and not more than the rate limit lets through' at_most "$said" $((10 + took / 500))
check 'the GPU is well' is "$(panthor protected-job)" 'protected-jobs 1/1'
check 'the model has nothing to complain of' is "$(check_model)" fine
