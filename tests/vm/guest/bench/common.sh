# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Functions of all measurements, in addition to lib.sh of the scenarios. Each figure is a line `figure NAME VALUE`.

ROUNDS=15

# fresh: loads protheap.ko again, so that the GPU can be held in each run, and empties /run/protheap
fresh() {
	[ ! -d "$CONFIG/$GPU" ] || need rmdir "$CONFIG/$GPU"
	rm -rf /run/protheap
	rmmod protheap 2>/dev/null
	load_protheap
	# Work of the kernel after the loading is not measured.
	sleep 0.1
}

# bound_by COMMAND...: runs a command that binds the GPU, with all buffers, and writes the state file
bound_by() {
	fresh
	need "$@"
	said=$seen
	need is "$(attr state)" bound
	need is "$(attr suspend_free)" 16
	need is "$(attr firmware_bytes)" 262144
	need exists $STATE
	echo "$said"
}
