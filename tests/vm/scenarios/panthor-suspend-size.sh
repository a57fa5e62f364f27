# SPDX-License-Identifier: MIT OR Apache-2.0
# about: protected groups get suspend buffers of the size that the firmware requests when the policy specifies a smaller one
# tee: sim, static

bound_panthor 4 protected_suspend_bytes=131072
keep_awake
groups_per_file 4
keep_groups 4 --protected --job
check 'panthor makes as many protected groups as its limit permits' is "$(groups_said)" 'groups 4, jobs 4/4'
check 'a protected group has one ordinary and one protected suspend buffer' is "$(group_buffers)" 'ordinary carve-out'
check 'the suspend buffers have the size that the firmware requests' is "$(awk '{ print $11 }' $MODEL/groups | sort -u)" 131072
check 'the smaller buffers of the binding are freed' wait_until 2 is_count $((262144 + 4 * 131072)) given_out
release_groups
check 'protected jobs run' is "$(panthor protected-job --count 3)" 'protected-jobs 3/3'
check 'the simulated GPU reports no violation' is "$(check_model)" fine
