# SPDX-License-Identifier: MIT OR Apache-2.0
# about: where an image is closed, what the initrd bound is not decided again: not when its TEE comes back, and not by a better policy
# source: kernel, handed

better() {
	cat >/usr/lib/protheap/policies/radxa,rock-5b.toml <<-END
		schema = 1
		[gpu."arm,mali-valhall-csf"]
		heaps = [{ name = "protected,trusted-ui" }$1]
	END
}
lost() { ends failed heap-dead; }
back() { holds "$CONFIG/$GPU/state" bound; }
heap_dead() { fails_with EINVAL protheap-guest alloc protected,secure-video 4096; }

load_tee 'heaps=protected,secure-video;protected,trusted-ui'
load_protheap
# Lockdown would close debugfs as well, by which the TEE goes here.
echo 'local-policy = "never"' >/usr/lib/protheap/image.toml
run_binder
need is "$(attr state) $(attr heap)" 'bound protected,secure-video'

# The root that follows has other policies, which prefer another heap.
better ', { name = "protected,secure-video" }'
run_binder
check 'the binder of the next root leaves it' is "$(attr state) $(attr heap)" 'bound protected,secure-video'
start_daemon
check 'and so does the daemon' is "$(attr state) $(attr heap)" 'bound protected,secure-video'
drop_tee
check 'the TEE goes, and its heap' wait_until 2 heap_dead
check 'the binding with it' wait_until 2 lost
restore_tee
check 'when it is back, the GPU is bound' wait_until 2 back
check 'to the same heap' is "$(attr heap)" protected,secure-video
stop_daemon

# One that does not name the heap at all.
better ''
start_daemon
drop_tee
need wait_until 2 heap_dead
need wait_until 2 lost
restore_tee
need wait_until 2 exists /sys/class/tee/tee0
sleep 1
check 'a policy that does not name it binds nothing else' absent "$CONFIG/$GPU"
check 'and says why' ends unprotected no-policy
stop_daemon

# An open image: the policy that is there now counts.
echo 'local-policy = "always"' >/usr/lib/protheap/image.toml
start_daemon
check 'an image that is not closed is decided for as it is now' wait_until 2 back
check 'by the policy that is there' is "$(attr heap)" protected,trusted-ui
stop_daemon
