# SPDX-License-Identifier: MIT OR Apache-2.0
# about: media stacks ask over D-Bus: what they see, what is signalled, who may do what, and what the log has of it
# init: systemd
# cmdline: simtee.delay_ms=200
# limit: 300

OPENED=0ba5c79dc2484806a6aa059d1870de14
BOUND=09db2812771449af8b6825897e91babb

state_is() { is "$(property gpu State)" "s \"$1\""; }
# heard TIMES PATTERN: that many lines at least
heard() { at_least "$(grep -c "$(echo "$2" | sed 's/[*]/.*/g')" /run/heard)" "$1" || { cat /run/heard; return 1; }; }
find_heap() {
	usage=$1
	shift
	busctl call org.protheap1 /org/protheap1 org.protheap1.Manager FindHeap 'sa(uu)a{sv}' "$usage" "$@" 0
}
opened_by() { journalctl --sync && journalctl --boot --quiet --output=verbose "MESSAGE_ID=$OPENED" "CLIENT_UID=$1"; }

wanted_by_device() { like "$(unit_says WantedBy protheapd)" '*.device'; }
check 'the device of the GPU has started the daemon' wait_until 10 wanted_by_device
check 'its objects are there' is "$(busctl tree --list org.protheap1 | grep -E '/(gpu|heap)/' | tr '\n' ' ')" "$GPU_OBJECT $HEAP_OBJECT "
check 'the GPU says what it has' wait_until 5 state_is in-use
check 'and why' is "$(property gpu Reason) $(property gpu Driver)" 's "adopted" s "panthor"'
check 'the heap says what it is' is "$(property heap Protection) $(property heap Usable)" 's "tee" b true'
check 'everybody may read that' is "$(as_user 65534 busctl get-property org.protheap1 "$GPU_OBJECT" org.protheap1.Gpu Heap)" 's "protected,secure-video"'
check 'nobody may set it' like "$(busctl set-property org.protheap1 "$GPU_OBJECT" org.protheap1.Gpu Heap s other 2>&1)" 'Failed to *'

protheapctl monitor --json >/run/heard 2>&1 &
monitor=$!
need wait_until 10 heard 1 '"state":"in-use"'
need unbind_gpu panthor
check 'it is signalled when the driver lets go' wait_until 10 heard 1 '"state":"bound"*"driver":null'
need bind_gpu panthor
check 'and when it comes back' wait_until 10 heard 2 '"state":"in-use"*"driver":"panthor"'

load_video
render=$(protheap-guest node /dev/dri/renderD128 | sed 's/ .*//; s/:/ /')
video=$(protheap-guest node /dev/video0 | sed 's/ .*//; s/:/ /')
# shellcheck disable=SC2086
check 'a player finds the heap of GPU and decoder' like "$(find_heap secure-video 2 $render $video)" "osa{sv} \"$HEAP_OBJECT\" \"protected,secure-video\" *"
# shellcheck disable=SC2086
check 'any user does' like "$(as_user 65534 busctl call org.protheap1 /org/protheap1 org.protheap1.Manager FindHeap 'sa(uu)a{sv}' secure-video 2 $render $video 0)" "osa{sv} \"$HEAP_OBJECT\" *"
# shellcheck disable=SC2086
check 'for another usage there is none' like "$(find_heap secure-camera 2 $render $video 2>&1)" 'Call failed: *'
check 'a number of nothing is no device' is "$(bus find 1 12 2)" 'UnknownDevice 1'
check 'why is told as JSON' like "$(busctl call org.protheap1 /org/protheap1 org.protheap1.Manager Explain o "$GPU_OBJECT")" 's "{*considered*}"'
check 'a player gets a buffer that cannot be mapped' like "$(player 2>&1)" '*protected,secure-video*mmap        refused*next *'

check 'root may reload' bus reload
check 'and not rebind what is in use' fails_with InUse bus rebind "$GPU"
for command in reload "rebind $GPU" 'open protected,secure-video'; do
	# shellcheck disable=SC2086
	check "others may not $command" fails_with AccessDenied as_user 65534 protheap-guest bus $command
done
check 'polkit was asked for them' unit_is active polkit
need cp /usr/share/doc/protheap/examples/polkit/50-protheap-kiosk.rules /etc/polkit-1/rules.d
need systemctl restart polkit
check 'a rule lets one user open a heap' as_user 1000 protheap-guest bus open protected,secure-video
check 'but not rebind' fails_with AccessDenied as_user 1000 protheap-guest bus rebind "$GPU"
check 'and nobody else' fails_with AccessDenied as_user 65534 protheap-guest bus open protected,secure-video
check 'the log says who got it' like "$(opened_by 1000)" '*HEAP=protected,secure-video*'
check 'the log has no heap opened by another user' empty opened_by 65534
need systemctl mask --runtime --now polkit
check 'without polkit the rule lets nobody' fails_with AccessDenied as_user 1000 protheap-guest bus open protected,secure-video
check 'and root may' bus open protected,secure-video

bind() { busctl call org.protheap1 "$GPU_OBJECT" org.protheap1.Gpu Bind 2>&1; }
reason_is() { is "$(property gpu Reason)" "s \"$1\""; }
check 'Bind succeeds for a GPU that is bound at boot' empty bind
mkdir -p /etc/protheap/policies/default.toml.d
printf 'schema = 1\n[gpu."arm,mali-valhall-csf"]\nbind = "demand"\n' \
	>/etc/protheap/policies/default.toml.d/50-demand.toml
need bus reload
check 'bound on demand, what no group needs is returned' wait_until 20 reason_is on-demand
check 'others may not have it bound' like "$(as_user 65534 busctl call org.protheap1 "$GPU_OBJECT" org.protheap1.Gpu Bind 2>&1)" '*denied*'
check 'root may call Bind' empty bind
check 'and it is in use' wait_until 5 state_is in-use
rm -r /etc/protheap/policies
need bus reload

need journalctl --update-catalog
check 'the log explains itself' like "$(journalctl --boot --catalog "MESSAGE_ID=$BOUND")" "*$GPU has the protected heap protected,secure-video*"

daemon=$(main_process protheapd)
need systemctl stop protheapd
check 'who listens is told that it has gone' wait_until 10 heard 1 '"service":"gone"'
kill $monitor
check 'stopped, it is started by who asks' is "$(property gpu State)" 's "in-use"'
check 'as a unit' started_anew protheapd "$daemon"
check 'protheapd logs no warning' empty warnings_of protheapd
check 'no unit has failed' empty failed_units
