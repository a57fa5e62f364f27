# SPDX-License-Identifier: MIT OR Apache-2.0
# about: in a container, which sees the GPU and not the kernel's side of it, binder and daemon do nothing, and end well
# source: kernel, handed

load_tee
load_protheap
run_binder
need load_gpu
need is "$(attr state)" in-use

# contained COMMAND...: in place of this shell: no network, no configfs, no heaps, and a /run of its own
contained() {
	exec unshare -m -n sh -c '
		for directory in /sys/kernel/config /dev /run; do mount -t tmpfs none $directory; done
		exec "$@"' contained "$@"
}

check 'the binder ends at once, and well' contained protheap-bind
contained protheapd >/run/contained.log 2>&1 &
DAEMON=$!
sleep 5
check 'the daemon stays' exists /proc/$DAEMON
stop_daemon
check 'and ends well' is "$DAEMON_STATUS" 0
check 'protheapd logs nothing twice' empty repeated /run/contained.log
say "$(cat /run/contained.log)"
check 'the binding is as it was' is "$(attr state) $(buffers)" 'in-use 17'
check 'what the host tells, too' is "$(state_of /written_by | sed 's/ .*//')" protheap-bind
