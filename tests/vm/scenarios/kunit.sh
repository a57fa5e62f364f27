# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the module's own unit tests, which run when it is loaded
# kernel: debug
# cmdline: kunit.autorun=1
# says: ok 1 protheap_news
# says: ok 2 protheap_pool
# says: ok 3 protheap_tally
# says: ok 4 protheap_binding
# says: ok 5 protheap_configfs

load_protheap
check 'they left nothing behind' wait_until 2 is_zero buffers
check 'nor do they keep the module' rmmod protheap
