# SPDX-License-Identifier: MIT OR Apache-2.0
# about: in a container that sees the GPU but neither configfs nor heaps, the binder and the daemon change nothing and exit with status 0
# source: kernel, handed

load_tee
load_protheap
run_binder
need load_gpu
need is "$(attr state)" in-use

# contained COMMAND...: replaces this shell by a command without network, configfs or heaps, and with an empty /run
contained() {
	exec unshare -m -n sh -c '
		for directory in /sys/kernel/config /dev /run; do mount -t tmpfs none $directory; done
		exec "$@"' contained "$@"
}

check 'in the container, the binder exits with status 0' contained protheap-bind
contained protheapd >/run/contained.log 2>&1 &
DAEMON=$!
sleep 5
check 'in the container, the daemon keeps running' exists /proc/$DAEMON
stop_daemon
check 'in the container, the daemon exits with status 0' is "$DAEMON_STATUS" 0
check 'in the container, protheapd logs no line twice' empty repeated /run/contained.log
say "$(cat /run/contained.log)"
check 'the binding on the host is unchanged' is "$(attr state) $(buffers)" 'in-use 17'
check 'state.json on the host is unchanged' is "$(state_of /written_by | sed 's/ .*//')" protheap-bind
