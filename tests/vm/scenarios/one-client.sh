# SPDX-License-Identifier: MIT OR Apache-2.0
# about: one open file of the render node cannot take all suspend buffers, and the log names who holds them
# clock: instructions
# limit: 60

bound_panthor 16
need wait_until 5 gpu_probed
need chmod 666 "$(render_node)"
logged() { dmesg | grep -c "$1"; }

# A user without any other right makes all the groups that it can, and keeps them.
GROUPS_USER=1000
try_groups 64 --protected --job
check 'one client gets half of the buffers' is "$(groups_said)" 'groups 8 ENOBUFS, jobs 8/8'
check 'the others stay free' is "$(attr suspend_in_use) $(attr suspend_free)" '8 8'
check 'the refusal is counted' is "$(counter suspend-over-limit) $(counter suspend-exhausted)" '1 0'
check 'the log names the process' logged "Protected group refused, its file holds 8 suspend buffers: pid=$GROUPS_KEEPER, comm=protheap-guest"
check 'another client has a protected group' is "$(panthor group --protected)" 'groups 1
destroyed 1/1'
check 'as many as the first' is "$(panthor group --protected --count 8)" 'groups 8
destroyed 8/8'
check 'and protected jobs' is "$(panthor protected-job --count 3)" 'protected-jobs 3/3'

# Destroyed groups hold their buffer until their jobs have ended.
release_groups
check 'every buffer comes back' wait_until 5 holds "$CONFIG/$GPU/suspend_in_use" 0
need unbind_gpu panthor
need rmdir "$CONFIG/$GPU"
make_binding protected,secure-video 65536 6
need bind_gpu panthor
need panthor churn --count 60 --groups 1
churned=$seen
say "$(echo "$churned" | tr '\n' ' ')"
check 'a client that destroys groups with their jobs has no more at any time' at_most "$(counter suspend-peak)" 3
check 'and gets new ones' at_least "$(echo "$churned" | sed -n 's/^created //p')" 20

before=$(logged 'Protected group refused')
from=$(now_ms)
need panthor churn --count 300 --groups 300
churned=$seen
took=$(($(now_ms) - from))
said=$(($(logged 'Protected group refused') - before))
say "$said lines in $took ms"
check 'a client that asks again and again gets no more' is "$churned" 'created 3
refused 297'
# The kernel's rate limit is 10 in 5 s.
check 'and does not flood the log' at_most "$said" $((10 + took / 500))
check 'the buffers come back' wait_until 5 holds "$CONFIG/$GPU/suspend_in_use" 0

# It is a limit of open files, not of users: two files have all. Then the log says who holds the most.
GROUPS_USER=0
groups_per_file 5
try_groups 64 --protected
check 'the limit can be set' is "$(groups_said)" 'groups 5 ENOBUFS'
groups_per_file 0
check 'two clients can have all' is "$(panthor group --protected --count 2 2>&1)" 'groups 1 ENOBUFS'
check 'then the log names the one with the most' logged "Protected group refused, no suspend buffer is free, most are held by: pid=$GROUPS_KEEPER, comm=protheap-guest (5)"
check 'and the module the driver' logged 'failed to provide a suspend buffer: driver panthor holds 6 of 6; .* (now 6)'
release_groups

# Of few buffers one client has one, whoever comes first.
need wait_until 5 holds "$CONFIG/$GPU/suspend_in_use" 0
need unbind_gpu panthor
need rmdir "$CONFIG/$GPU"
make_binding protected,secure-video 65536 1
need bind_gpu panthor
check 'the only buffer is for anybody' is "$(panthor group --protected --count 2 2>&1)" 'groups 1 ENOBUFS'

# A heap that has memory for fewer buffers than the policy allows.
need wait_until 5 holds "$CONFIG/$GPU/suspend_in_use" 0
need unbind_gpu panthor
need rmdir "$CONFIG/$GPU"
need wait_until 5 is_zero given_out
need rmmod simtee
load_tee size=1048576
make_binding protected,secure-video 65536 16
need bind_gpu panthor
check 'there are fewer buffers than the policy allows' is "$(attr suspend_free) $(attr suspend_count)" '12 16'
check 'one client gets half of those that there are' is "$(panthor group --protected --count 64 2>&1)" 'groups 6 ENOBUFS'
check 'the model has nothing to complain of' is "$(check_model)" fine
