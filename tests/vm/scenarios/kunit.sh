# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the KUnit tests of the module pass when it is loaded
# kernel: debug
# cmdline: kunit.autorun=1
# says: # protheap_event: pass:5 fail:0 skip:0 total:5
# says: # protheap_pool: pass:2 fail:0 skip:0 total:2
# says: # protheap_statistics: pass:2 fail:0 skip:0 total:2
# says: # protheap_binding: pass:17 fail:0 skip:0 total:17
# says: # protheap_configfs: pass:4 fail:0 skip:0 total:4

load_protheap
check 'the KUnit tests leave no buffer' wait_until 2 is_zero buffers
check 'the module can be unloaded after the KUnit tests' rmmod protheap
