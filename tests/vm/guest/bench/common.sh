# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What the measurements share, on top of the scenarios' lib.sh. Each figure is a line `figure NAME VALUE`.

ROUNDS=15

# fresh: protheap.ko as just loaded, so that each run has a window of its own, and nothing in /run
fresh() {
	[ ! -d "$CONFIG/$GPU" ] || need rmdir "$CONFIG/$GPU"
	rm -rf /run/protheap
	rmmod protheap 2>/dev/null
	load_protheap
	# What the kernel does after that is nobody's time.
	sleep 0.1
}

# bound_by COMMAND...: it is, with all its buffers, and has told so
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
