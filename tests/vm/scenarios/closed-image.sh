# SPDX-License-Identifier: MIT OR Apache-2.0
# about: in a closed image, a GPU keeps the heap that the initrd bound, also after its TEE was gone or when a policy prefers another heap
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
# Lockdown would also close debugfs, through which the scenario removes the TEE.
echo 'local-policy = "never"' >/usr/lib/protheap/image.toml
run_binder
need is "$(attr state) $(attr heap)" 'bound protected,secure-video'

# The policies of the next root prefer another heap.
better ', { name = "protected,secure-video" }'
run_binder
check 'the binder of the next root leaves the binding as it is' is "$(attr state) $(attr heap)" 'bound protected,secure-video'
start_daemon
check 'the daemon leaves the binding as it is' is "$(attr state) $(attr heap)" 'bound protected,secure-video'
drop_tee
check 'the heap is dead without its TEE' wait_until 2 heap_dead
check 'the daemon withdraws the binding when its TEE is gone' wait_until 2 lost
restore_tee
check 'the daemon binds the GPU when the TEE is back' wait_until 2 back
check 'the daemon binds the heap that the initrd had bound' is "$(attr heap)" protected,secure-video
stop_daemon

# A policy that does not name the heap at all.
better ''
start_daemon
drop_tee
need wait_until 2 heap_dead
need wait_until 2 lost
restore_tee
need wait_until 2 exists /sys/class/tee/tee0
sleep 1
check 'the daemon binds no other heap when the policy does not name the old one' absent "$CONFIG/$GPU"
check 'state.json reports reason no-policy' ends unprotected no-policy
stop_daemon

# An open image, to which the present policy applies.
echo 'local-policy = "always"' >/usr/lib/protheap/image.toml
start_daemon
check 'in an open image, the daemon binds the GPU again' wait_until 2 back
check 'in an open image, the daemon binds the heap of the present policy' is "$(attr heap)" protected,trusted-ui
stop_daemon
