# SPDX-License-Identifier: MIT OR Apache-2.0
# about: negative control: the simulated GPU reports a page that is mapped twice and a CPU write to protected memory

bound_panthor 4
keep_awake
check 'the simulated GPU reports no violation before the first fault' is "$(check_model)" fine
need inject page-twice
check 'the simulated GPU reports a page that is mapped twice' like "$(check_model)" '*is mapped twice*'
need inject cpu-write
check 'the simulated GPU reports a CPU write to the carve-out' like "$(check_model)" '*the carve-out was changed by a foreign write*'
