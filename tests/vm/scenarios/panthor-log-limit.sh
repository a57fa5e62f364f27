# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a client that causes panthor to log all the time does not flood the kernel log
# tee: sim, static
# clock: instructions
# limit: 60

bound_panthor 4
need wait_until 5 gpu_probed
from=$(now_ms)
check 'the client loses 100 groups' is "$(panthor lose-groups --count 100)" 'lost 100'
took=$(($(now_ms) - from))
said=$(dmesg | grep -c 'Unprotected group wants protected mode: pid=.*, comm=protheap-guest')
say "$said lines in $took ms"
check 'the kernel logs lost groups' at_least "$said" 1
# The kernel's rate limit is 10 in 5 s.
check 'the kernel log has no more lines than the rate limit permits' at_most "$said" $((10 + took / 500))
check 'the GPU still runs a protected job' is "$(panthor protected-job)" 'protected-jobs 1/1'
check 'the simulated GPU reports no violation' is "$(check_model)" fine
