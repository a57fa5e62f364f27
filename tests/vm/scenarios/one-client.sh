# SPDX-License-Identifier: MIT OR Apache-2.0
# about: one open file of the render node gets at most half of the suspend buffers, and the kernel log names the holder
# clock: instructions
# limit: 60

bound_panthor 16
need wait_until 5 gpu_probed
need chmod 666 "$(render_node)"
logged() { dmesg | grep -c "$1"; }

# An unprivileged user makes as many groups as it can, and keeps them.
GROUPS_USER=1000
try_groups 64 --protected --job
check 'one client gets half of the suspend buffers' is "$(groups_said)" 'groups 8 ENOBUFS, jobs 8/8'
check 'the other half of the suspend buffers is free' is "$(attr suspend_in_use) $(attr suspend_free)" '8 8'
check 'the module counts the refusal' is "$(counter suspend-over-limit) $(counter suspend-exhausted)" '1 0'
check 'the kernel logs the process that was refused' logged "Protected group refused, its file holds 8 suspend buffers: pid=$GROUPS_KEEPER, comm=protheap-guest"
check 'another client gets a protected group' is "$(panthor group --protected)" 'groups 1
destroyed 1/1'
check 'another client gets as many protected groups as the first' is "$(panthor group --protected --count 8)" 'groups 8
destroyed 8/8'
check 'another client runs protected jobs' is "$(panthor protected-job --count 3)" 'protected-jobs 3/3'

# Destroyed groups hold their buffer until their jobs have ended.
release_groups
check 'all suspend buffers are free again' wait_until 5 holds "$CONFIG/$GPU/suspend_in_use" 0
need unbind_gpu panthor
need rmdir "$CONFIG/$GPU"
make_binding protected,secure-video 65536 6
need bind_gpu panthor
need panthor churn --count 60 --groups 1
churned=$seen
say "$(echo "$churned" | tr '\n' ' ')"
check 'a client that destroys groups with running jobs never has more than its share' at_most "$(counter suspend-peak)" 3
check 'a client that destroys groups with running jobs gets new groups' at_least "$(echo "$churned" | sed -n 's/^created //p')" 10

before=$(logged 'Protected group refused')
from=$(now_ms)
need panthor churn --count 300 --groups 300
churned=$seen
took=$(($(now_ms) - from))
said=$(($(logged 'Protected group refused') - before))
say "$said lines in $took ms"
check 'a client that retries all the time gets no more than its share' is "$churned" 'created 3
refused 297'
# The kernel's rate limit is 10 in 5 s.
check 'the kernel log has no more lines than the rate limit permits' at_most "$said" $((10 + took / 500))
check 'all suspend buffers are free after the retries' wait_until 5 holds "$CONFIG/$GPU/suspend_in_use" 0

# The limit is per open file, not per user: two files can use all buffers. The log then names the largest holder.
GROUPS_USER=0
groups_per_file 5
try_groups 64 --protected
check 'the limit for one file can be set' is "$(groups_said)" 'groups 5 ENOBUFS'
groups_per_file 0
check 'two clients can use all suspend buffers' is "$(panthor group --protected --count 2 2>&1)" 'groups 1 ENOBUFS'
check 'the kernel logs the process that holds the most suspend buffers' logged "Protected group refused, no suspend buffer is free, most are held by: pid=$GROUPS_KEEPER, comm=protheap-guest (5)"
check 'the module logs the driver that holds all suspend buffers' logged 'failed to provide a suspend buffer: driver panthor holds 6 of 6; .* (now 6)'
release_groups

# Of few buffers, the first client gets one.
need wait_until 5 holds "$CONFIG/$GPU/suspend_in_use" 0
need unbind_gpu panthor
need rmdir "$CONFIG/$GPU"
make_binding protected,secure-video 65536 1
need bind_gpu panthor
check 'any client can use the only suspend buffer' is "$(panthor group --protected --count 2 2>&1)" 'groups 1 ENOBUFS'

# A heap that has memory for fewer buffers than the policy requests.
need wait_until 5 holds "$CONFIG/$GPU/suspend_in_use" 0
need unbind_gpu panthor
need rmdir "$CONFIG/$GPU"
need wait_until 5 is_zero given_out
need rmmod simtee
load_tee size=1048576
make_binding protected,secure-video 65536 16
need bind_gpu panthor
check 'the binding has fewer suspend buffers than the policy requests' is "$(attr suspend_free) $(attr suspend_count)" '12 16'
check 'one client gets half of the available suspend buffers' is "$(panthor group --protected --count 64 2>&1)" 'groups 6 ENOBUFS'
check 'the simulated GPU reports no violation' is "$(check_model)" fine
