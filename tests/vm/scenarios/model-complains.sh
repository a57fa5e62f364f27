# SPDX-License-Identifier: MIT OR Apache-2.0
# about: negative control: what a driver must not do with memory is found by the model

bound_panthor 4
keep_awake
check 'all is well' is "$(check_model)" fine
need inject page-twice
check 'a page that is mapped twice is found' like "$(check_model)" '*is mapped twice*'
need inject cpu-write
check 'so is a write of the CPU to the carve-out' like "$(check_model)" '*somebody else wrote to the carve-out*'
