# SPDX-License-Identifier: MIT OR Apache-2.0
# about: media stacks use the D-Bus interface: objects, signals, permissions, and log entries of each call
# init: systemd
# cmdline: simtee.delay_ms=200
# limit: 300

OPENED=0ba5c79dc2484806a6aa059d1870de14
BOUND=09db2812771449af8b6825897e91babb

state_is() { is "$(property gpu State)" "s \"$1\""; }
# heard TIMES PATTERN: the monitor has printed at least that many lines that match
heard() { at_least "$(grep -c "$(echo "$2" | sed 's/[*]/.*/g')" /run/heard)" "$1" || { cat /run/heard; return 1; }; }
find_heap() {
	usage=$1
	shift
	busctl call org.protheap1 /org/protheap1 org.protheap1.Manager FindHeap 'sa(uu)a{sv}' "$usage" "$@" 0
}
opened_by() { journalctl --sync && journalctl --boot --quiet --output=verbose "MESSAGE_ID=$OPENED" "CLIENT_UID=$1"; }

wanted_by_device() { like "$(unit_says WantedBy protheapd)" '*.device'; }
check 'the device of the GPU starts the daemon' wait_until 10 wanted_by_device
check 'the daemon has an object for the GPU and one for the heap' is "$(busctl tree --list org.protheap1 | grep -E '/(gpu|heap)/' | tr '\n' ' ')" "$GPU_OBJECT $HEAP_OBJECT "
check 'the GPU object reports state in-use' wait_until 5 state_is in-use
check 'the GPU object reports its reason and its driver' is "$(property gpu Reason) $(property gpu Driver)" 's "adopted" s "panthor"'
check 'the heap object reports its protection' is "$(property heap Protection) $(property heap Usable)" 's "tee" b true'
check 'every user can read a property' is "$(as_user 65534 busctl get-property org.protheap1 "$GPU_OBJECT" org.protheap1.Gpu Heap)" 's "protected,secure-video"'
check 'no user can set a property' like "$(busctl set-property org.protheap1 "$GPU_OBJECT" org.protheap1.Gpu Heap s other 2>&1)" 'Failed to *'

protheapctl monitor --json >/run/heard 2>&1 &
monitor=$!
need wait_until 10 heard 1 '"state":"in-use"'
need unbind_gpu panthor
check 'the daemon signals that the driver was unbound' wait_until 10 heard 1 '"state":"bound"*"driver":null'
need bind_gpu panthor
check 'the daemon signals that the driver was bound again' wait_until 10 heard 2 '"state":"in-use"*"driver":"panthor"'

load_video
render=$(protheap-guest node /dev/dri/renderD128 | sed 's/ .*//; s/:/ /')
video=$(protheap-guest node /dev/video0 | sed 's/ .*//; s/:/ /')
# shellcheck disable=SC2086
check 'FindHeap returns the heap that GPU and decoder can use' like "$(find_heap secure-video 2 $render $video)" "osa{sv} \"$HEAP_OBJECT\" \"protected,secure-video\" *"
# shellcheck disable=SC2086
check 'every user can call FindHeap' like "$(as_user 65534 busctl call org.protheap1 /org/protheap1 org.protheap1.Manager FindHeap 'sa(uu)a{sv}' secure-video 2 $render $video 0)" "osa{sv} \"$HEAP_OBJECT\" *"
# shellcheck disable=SC2086
check 'FindHeap returns an error for a usage without a heap' like "$(find_heap secure-camera 2 $render $video 2>&1)" 'Call failed: *'
check 'FindHeap returns UnknownDevice for the number of no device' is "$(bus find 1 12 2)" 'UnknownDevice 1'
check 'Explain returns JSON' like "$(busctl call org.protheap1 /org/protheap1 org.protheap1.Manager Explain o "$GPU_OBJECT")" 's "{*considered*}"'
check 'the example player gets a buffer that cannot be mapped' like "$(player 2>&1)" '*protected,secure-video*mmap        refused*next *'

check 'root can reload policies' bus reload
check 'root cannot rebind a GPU that is in use' fails_with InUse bus rebind "$GPU"
for command in reload "rebind $GPU" 'open protected,secure-video'; do
	# shellcheck disable=SC2086
	check "an unprivileged user cannot $command" fails_with AccessDenied as_user 65534 protheap-guest bus $command
done
check 'the daemon calls polkit for an unprivileged user' unit_is active polkit
need cp /usr/share/doc/protheap/examples/polkit/50-protheap-kiosk.rules /etc/polkit-1/rules.d
need systemctl restart polkit
check 'a polkit rule permits one user to open a heap' as_user 1000 protheap-guest bus open protected,secure-video
check 'the polkit rule does not permit that user to rebind' fails_with AccessDenied as_user 1000 protheap-guest bus rebind "$GPU"
check 'the polkit rule does not permit another user to open a heap' fails_with AccessDenied as_user 65534 protheap-guest bus open protected,secure-video
check 'the log has the user and the heap that was opened' like "$(opened_by 1000)" '*HEAP=protected,secure-video*'
check 'the log has no heap opened by another user' empty opened_by 65534
need systemctl mask --runtime --now polkit
check 'without polkit, the user of the rule cannot open a heap' fails_with AccessDenied as_user 1000 protheap-guest bus open protected,secure-video
check 'without polkit, root can open a heap' bus open protected,secure-video

bind() { busctl call org.protheap1 "$GPU_OBJECT" org.protheap1.Gpu Bind 2>&1; }
reason_is() { is "$(property gpu Reason)" "s \"$1\""; }
check 'Bind succeeds for a GPU that is bound at boot' empty bind
mkdir -p /etc/protheap/policies/default.toml.d
printf 'schema = 1\n[gpu."arm,mali-valhall-csf"]\nbind = "demand"\n' \
	>/etc/protheap/policies/default.toml.d/50-demand.toml
need bus reload
check 'with bind = "demand", the daemon withdraws an unused binding' wait_until 20 reason_is on-demand
check 'an unprivileged user cannot call Bind' like "$(as_user 65534 busctl call org.protheap1 "$GPU_OBJECT" org.protheap1.Gpu Bind 2>&1)" '*denied*'
check 'root can call Bind' empty bind
check 'the GPU uses the binding after Bind' wait_until 5 state_is in-use
rm -r /etc/protheap/policies
need bus reload

need journalctl --update-catalog
check 'the message catalog explains the log entry of a binding' like "$(journalctl --boot --catalog "MESSAGE_ID=$BOUND")" "*$GPU has the protected heap protected,secure-video*"

daemon=$(main_process protheapd)
need systemctl stop protheapd
check 'the monitor reports that the service is gone' wait_until 10 heard 1 '"service":"gone"'
kill $monitor
check 'a client starts the stopped daemon' is "$(property gpu State)" 's "in-use"'
check 'the bus starts the daemon as a unit' started_anew protheapd "$daemon"
check 'protheapd logs no warning' empty warnings_of protheapd
check 'no unit has failed' empty failed_units
