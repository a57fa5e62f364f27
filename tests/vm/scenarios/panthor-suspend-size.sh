# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the firmware needs larger suspend buffers than the policy thought: protected groups get such ones
# tee: sim, static

bound_panthor 4 protected_suspend_bytes=131072
keep_awake
groups_per_file 4
keep_groups 4 --protected --job
check 'as many groups are made as there may be' is "$(groups_said)" 'groups 4, jobs 4/4'
check 'with protected suspend buffers' is "$(group_buffers)" 'ordinary carve-out'
check 'of the size that the firmware says' is "$(awk '{ print $11 }' $MODEL/groups | sort -u)" 131072
check 'and nothing is left of the smaller ones' wait_until 2 is_count $((262144 + 4 * 131072)) given_out
release_groups
check 'protected jobs run' is "$(panthor protected-job --count 3)" 'protected-jobs 3/3'
check 'the model has nothing to complain of' is "$(check_model)" fine
