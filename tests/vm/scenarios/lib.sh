# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Functions and variables of every scenario. A scenario checks claims with `check` and helpers that succeed, or print
# what they saw and fail: is, like, at_least, at_most, equal_nonzero, empty, exists, absent, fails_with. A helper never
# passes because a command in its arguments failed: that nothing was printed is a claim for `empty` alone.
#
#   load_protheap; load_tee; load_gpu
#   check 'the GPU is bound' is "$(attr state)" in-use
#
# $GPU is the (first) GPU's device name, $GPUS all of them, $BOARD the board, $SEED a number to begin random ones with,
# $TEE who provides protected heaps: `sim`, the stand-in, or a real OP-TEE (`static`, `dynamic`, ...).
# $SLOW how many times slower than others this kernel is, roughly: 1, or more if it watches itself. $CLOCK is the clock
# that guest time follows: `instructions`, or `host`, on which no claim may depend.

CONFIG=/sys/kernel/config/protheap
DEVICES=/sys/bus/platform/devices
STATE=/run/protheap/state.json
OPTIONS=/run/modprobe.d/protheap-panthor.conf
DAEMON_LOG=/run/daemon.log
KERNEL_LOG=/run/kernel.log
CHECKS=0
BINDER_STATUS=''
DAEMON_STATUS=''
SLOW=1
[ ! -e /sys/kernel/debug/kmemleak ] || SLOW=10

# On the host's clock, waits only detect hangs: the host may be busy.
PATIENCE=1
[ "$CLOCK" = instructions ] || PATIENCE=10

# Seconds that a job may take.
export PANTHOR_TIMEOUT=$((10 * SLOW * PATIENCE))

GPUS=$(grep -l arm,mali-valhall-csf $DEVICES/*/of_node/compatible 2>/dev/null |
	sed "s,$DEVICES/,,; s,/.*,," | sort | tr '\n' ' ')
GPU=${GPUS%% *}

# --- claims ---

# check CLAIM COMMAND...: the claim holds if the command succeeds; what it prints is the detail if not.
check() {
	claim=$1
	shift
	CHECKS=$((CHECKS + 1))
	if seen=$("$@" 2>&1); then
		echo "ok - $claim"
	else
		echo "not ok - $claim ($(echo "${seen:-$* failed}" | tr '\n' ' ' | sed 's/ *$//'))"
	fi
}

# need COMMAND...: what the claims rest on; if it fails, the scenario fails at once
need() {
	seen=$("$@" 2>&1) || fail "$* ($seen)"
}

# fail WHY: ends the scenario, which has failed
fail() {
	CHECKS=$((CHECKS + 1))
	echo "not ok - $*"
	exit 1
}

# finish: called after the script's last line; without it the scenario failed.
finish() { echo "end $CHECKS"; }

say() { echo "# $*"; }

# is SEEN WANTED: which is not '', because that is also what a command prints that fails; see `empty`
is() {
	[ -n "$2" ] || { echo "saw '$1', wanted '', which is for empty"; return 1; }
	[ "$1" = "$2" ] || { echo "saw '$1', wanted '$2'"; return 1; }
}

# empty COMMAND...: it succeeds and prints nothing, not even an error
empty() {
	seen=$("$@" 2>&1) || { echo "$* failed: '$seen'"; return 1; }
	[ -z "$seen" ] || { echo "saw '$seen', wanted nothing"; return 1; }
}

# equal_nonzero SEEN WANTED: the same number, and not 0
equal_nonzero() { differs "$2" 0 && is "$1" "$2"; }

# differs SEEN UNWANTED
differs() { [ "$1" != "$2" ] || { echo "saw '$1'"; return 1; }; }

# like SEEN PATTERN: a shell pattern over the whole text
like() {
	# shellcheck disable=SC2254
	case $1 in $2) ;; *) echo "saw '$1', wanted '$2'"; return 1 ;; esac
}

# at_least SEEN LIMIT, at_most SEEN LIMIT: whole numbers
at_least() { [ "$1" -ge "$2" ] || { echo "saw $1, wanted at least $2"; return 1; }; }
at_most() { [ "$1" -le "$2" ] || { echo "saw $1, wanted at most $2"; return 1; }; }

# fails COMMAND...: which is there
fails() {
	"$@" >/dev/null 2>&1
	case $? in
	0) echo 'succeeded'; return 1 ;;
	126 | 127) echo "$1 cannot be run"; return 1 ;;
	esac
}

exists() { [ -e "$1" ] || { echo "no $1"; return 1; }; }
# absent PATH...
absent() { for path; do [ ! -e "$path" ] || { echo "$path is there"; return 1; }; done; }

# fails_with ERRNO COMMAND...: for protheap-guest and `store`, which print the name of the errno they met
fails_with() {
	wanted=$1
	shift
	if seen=$("$@" 2>&1); then
		echo "succeeded, wanted $wanted"
		return 1
	fi
	is "$seen" "$wanted"
}

# --- logs ---

# matching FILE PATTERN, others FILE PATTERN: prints the lines that match an extended regular expression, or those that
# do not. Unlike grep, they succeed if there are none, and fail if the file has no line at all.
matching() {
	has_lines "$1" 1 && { grep -E -e "$2" "$1" || [ $? = 1 ]; }
}
others() {
	has_lines "$1" 1 && { grep -vE -e "$2" "$1" || [ $? = 1 ]; }
}

# repeated FILE: lines that are in it more than once
repeated() { has_lines "$1" 1 && sort "$1" | uniq -d; }

# has_lines FILE COUNT: at least
has_lines() { at_least "$(wc -l <"$1")" "$2"; }

# kernel_log [WORDS]: lines of the kernel's log, or those with these words; see `matching`
kernel_log() {
	dmesg >"$KERNEL_LOG" && has_lines "$KERNEL_LOG" 1 && { grep -F -e "${1:-}" "$KERNEL_LOG" || [ $? = 1 ]; }
}

# Messages of protheap.ko whose absence is a claim. A unit test of xtask finds each in the source of the module, and the
# scenario `configfs-edges` sees the first two.
HELD='protheap: held for at most'
HOLD_TIMED_OUT='protheap: timed out waiting for user space'
ATTACH_FAILED='protheap: device_attach() failed'

# hold_ended_in_time: the kernel has held a GPU, and no hold has timed out
hold_ended_in_time() {
	like "$(kernel_log "$HELD")" "*$HELD*" && empty kernel_log "$HOLD_TIMED_OUT"
}

# --- waiting ---

now_ms() { echo $(($(protheap-guest now) / 1000)); }

# wait_until SECONDS COMMAND...: runs the command every 20 ms until it succeeds, for at most that time: of the guest's
# clock, or $PATIENCE times as long if that is the host's
wait_until() {
	deadline=$(($(now_ms) + $1 * 1000 * PATIENCE))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(now_ms)" -lt $deadline ] || { echo "waited for: $*; now: $("$@" 2>&1)"; return 1; }
		sleep 0.02
	done
}

# wait_for FILE VALUE SECONDS: until the file holds that value
wait_for() { wait_until "$3" holds "$1" "$2"; }

# holds FILE VALUE
holds() { is "$(cat "$1" 2>&1)" "$2"; }

# --- kernel modules ---

# Each takes module parameters: load_tee delay_ms=2000
load_tee() {
	case $TEE in
	sim) need modprobe simtee "$@" ;;
	*)
		[ $# = 0 ] || fail "load_tee: a real TEE takes no $*"
		[ "$TEE" != ffa ] || need modprobe ffa-module
		need modprobe optee
		;;
	esac
}
# load_tee_late MS: so late
load_tee_late() {
	case $TEE in
	sim) load_tee delay_ms="$1" ;;
	*) { sleep "$(printf %d.%03d $(($1 / 1000)) $(($1 % 1000)))" && load_tee; } & ;;
	esac
}
# unload_tee: its driver goes
unload_tee() {
	case $TEE in
	sim) rmmod simtee ;;
	*) rmmod optee ;;
	esac
}
load_protheap() { need modprobe protheap "$@"; }
load_gpu() { need modprobe csfgpu "$@"; }
load_video() { need modprobe simvideo "$@"; }

# The kernel's own driver, and the GPU that is modelled for it.
load_model() { need modprobe csfmodel "$@"; }
load_panthor() { need modprobe panthor "$@"; }
# use_panthor BUILD: `modprobe panthor` loads that one instead of the kernel's own: `unmodified`, as Linux has it, or
# `parameter`, which has the parameter protected_heap_name. Both link to the same modules.
use_panthor() {
	need cp "/lib/panthor/$1/panthor.ko" /lib/modules/*/panthor.ko
	# busybox's modprobe does not look into /run.
	mkdir -p /etc/modprobe.d
	need ln -sf "$OPTIONS" /etc/modprobe.d
}

# use_optee unmodified: `modprobe optee` loads OP-TEE's driver as Linux has it
use_optee() { need cp "/lib/optee/$1/optee.ko" /lib/modules/*/optee.ko; }

# heap NAME: its path
heap() { echo "/dev/dma_heap/$1"; }

# hide_heaps: as on a kernel without dma-buf heaps, programs do not find their class
hide_heaps() {
	mkdir -p /tmp/sys /tmp/class
	need mount --bind /sys /tmp/sys
	for class in /sys/class/*; do
		[ "${class##*/}" = dma_heap ] || ln -s "/tmp$class" /tmp/class
	done
	need mount --bind /tmp/class /sys/class
}

# drop_tee, restore_tee: the TEE goes away, while the scenario goes on, and comes back; its heaps are dead meanwhile
drop_tee() {
	case $TEE in
	sim) echo 1 >/sys/kernel/debug/simtee/drop ;;
	# It ends when the last buffer is freed.
	*) protheap-guest write "$OPTEE_DRIVER/unbind" "$OPTEE" & ;;
	esac
}
restore_tee() {
	case $TEE in
	sim) echo 1 >/sys/kernel/debug/simtee/restore ;;
	*) protheap-guest write "$OPTEE_DRIVER/bind" "$OPTEE" ;;
	esac
}
# The real one's device, and the directory of its driver.
OPTEE=firmware:optee
OPTEE_DRIVER=/sys/bus/platform/drivers/optee
if [ "$TEE" = ffa ]; then
	OPTEE=arm-ffa-1
	OPTEE_DRIVER=/sys/bus/arm_ffa/drivers/optee
fi
# tee_revision: of the real one that the kernel has found: major and minor number
tee_revision() { cat /sys/class/tee/tee0/revision; }

# --- the binding in configfs, of $GPU if no device is named ---

# attr NAME [DEVICE]
attr() { cat "$CONFIG/${2:-$GPU}/$1"; }

# store ATTRIBUTE VALUE [DEVICE]: one write; prints the errno's name and fails, if it fails
store() { protheap-guest write "$CONFIG/${3:-$GPU}/$1" "$2"; }

# hand_over KIND HEAP BYTES [MORE...]: see `protheap-guest hand-over`
hand_over() { protheap-guest hand-over "$GPU" "$@"; }

# make_binding HEAP BYTES COUNT: binds $GPU as a binder would, with that many suspend buffers of that many bytes
make_binding() {
	need mkdir "$CONFIG/$GPU"
	need store heap "$1"
	need store firmware_bytes_wanted 262144
	need store suspend_bytes "$2"
	need store suspend_count "$3"
	if [ "$(attr source)" = handed ]; then
		need hand_over firmware "$1" 262144
		[ "$3" = 0 ] || need hand_over suspend "$1" "$2" --count "$3"
	fi
	need store commit bind
}

# counter NAME [DEVICE]: what debugfs tells of the binding
counter() { sed -n "s/^$1 //p" "/sys/kernel/debug/protheap/${2:-$GPU}"; }

# given_out: bytes of its heaps that the TEE has given out
given_out() {
	case $TEE in
	sim) cat /sys/kernel/debug/simtee/given_out ;;
	# SIZE FLAGS MODE COUNT EXPORTER INODE NAME, and lines about each. Zeros in front would make it octal.
	*) awk '$5 == "tee" { sub(/^0+/, "", $1); all += $1 } END { print all + 0 }' /sys/kernel/debug/dma_buf/bufinfo ;;
	esac
}

# cma_free: KiB of the kernel's CMA area that nobody has
cma_free() { awk '$1 == "CmaFree:" { print $2 }' /proc/meminfo; }

# buffers: how many dma-bufs the kernel has, whoever holds them
buffers() { sed -n 's/^Total \([0-9]*\) objects.*/\1/p' /sys/kernel/debug/dma_buf/bufinfo; }

# --- the GPU's driver ---

# driver [DEVICE]: the driver bound to the device; nothing, if none is
driver() { link=$(readlink "$DEVICES/${1:-$GPU}/driver") && echo "${link##*/}"; }
# has_no_driver [DEVICE]: the device is there, and no driver is bound to it
has_no_driver() { exists "$DEVICES/${1:-$GPU}" && absent "$DEVICES/${1:-$GPU}/driver"; }

# gpu_probed [DEVICE]: its driver has probed it, and can be used. The link to the driver is there from the beginning of
# probe on; a driver's files and nodes come at its end.
gpu_probed() {
	case $(driver "$@") in
	'')
		echo "${1:-$GPU} has no driver"
		return 1
		;;
	csfgpu) exists "/sys/kernel/debug/csfgpu/${1:-$GPU}/groups" ;;
	panthor | tyr) render_node "$@" ;;
	esac
}

# render_node [DEVICE]: the node of its driver, if programs can open it
render_node() {
	for node in "$DEVICES/${1:-$GPU}/drm"/renderD*; do
		node=/dev/dri/${node##*/}
		(: <>"$node") 2>/dev/null && echo "$node" && return
	done
	echo "${1:-$GPU} has no render node that can be opened"
	return 1
}

# gpu VALUE [DEVICE]: probed_at_us, bound, firmware_bytes, groups, late_bounds...
gpu() { cat "/sys/kernel/debug/csfgpu/${2:-$GPU}/$1"; }

# unbind_gpu [DRIVER], bind_gpu [DRIVER]: by hand, as an administrator would
unbind_gpu() { protheap-guest write "/sys/bus/platform/drivers/${1:-csfgpu}/unbind" "$GPU"; }
bind_gpu() { protheap-guest write "/sys/bus/platform/drivers/${1:-csfgpu}/bind" "$GPU"; }

# create_group, destroy_group [DEVICE]: a protected group takes one suspend buffer and gives it back. keep_group lets
# the last one outlive its driver, destroy_kept destroys one of those.
create_group() { protheap-guest write "/sys/kernel/debug/csfgpu/${1:-$GPU}/groups" create; }
destroy_group() { protheap-guest write "/sys/kernel/debug/csfgpu/${1:-$GPU}/groups" destroy; }

keep_group() { protheap-guest write "/sys/kernel/debug/csfgpu/${1:-$GPU}/groups" keep; }
destroy_kept() { protheap-guest write /sys/kernel/debug/csfgpu/kept destroy; }

# --- the real panthor, on the modelled GPU ---

MODEL=/sys/kernel/debug/csfmodel

# bound_panthor COUNT [PARAMETERS]: panthor drives the modelled GPU, with a binding of so many suspend buffers
bound_panthor() {
	count=$1
	shift
	load_model "$@"
	load_tee
	load_protheap
	make_binding protected,secure-video 65536 "$count"
	load_panthor
}

# panthor COMMAND...: what a program does with the GPU; see `protheap-guest`
panthor() { protheap-guest panthor "$@"; }

# model COUNTER, firmware_says NAME: see driver/testing/csfmodel/report.c
model() { sed -n "s/^$1 //p" $MODEL/counters; }
firmware_says() { sed -n "s/^$1 //p" $MODEL/firmware; }

# check_model: `fine`, or what it has to complain of
check_model() { cat $MODEL/check; }

# inject FAULT: see driver/testing/csfmodel/inject.c
inject() { protheap-guest write $MODEL/inject "$1"; }

# is_driver NAME: it has probed $GPU
is_driver() { is "$(driver)" "$1" && gpu_probed; }

# gpu_sleeps, booted_since BOOTS
gpu_sleeps() { holds "$DEVICES/$GPU/power/runtime_status" suspended; }
booted_since() { at_least "$(model boots)" $(($1 + 1)); }

# keep_awake, let_sleep: a GPU that sleeps has no page tables that the model could look at
keep_awake() { echo on >"$DEVICES/$GPU/power/control"; }
let_sleep() { echo auto >"$DEVICES/$GPU/power/control"; }

# groups_per_file NUMBER: protected groups that one open file may have, in place of half of the suspend buffers (0)
groups_per_file() { echo "$1" >/sys/module/panthor/parameters/protheap_groups_per_file; }

# keep_groups NUMBER [OPTIONS]: a program makes that many groups and keeps them until release_groups. The scenario fails
# unless it has made all of them, and with --job, run a job in each. try_groups returns when it has made as many as it
# could, and has $GROUPS_USER's rights, root's by default. groups_said is the program's output so far, group_buffers the memory of the groups' two suspend buffers (each
# answer once).
keep_groups() {
	try_groups "$@"
	wanted="groups $1"
	case $* in *--job*) wanted="groups $1, jobs $1/$1" ;; esac
	[ "$(groups_said)" = "$wanted" ] || fail "keep_groups $*: saw '$(groups_said)', wanted '$wanted'"
}
try_groups() {
	rm -f /run/groups.release
	protheap-guest as "${GROUPS_USER:-0}" protheap-guest panthor group --count "$@" --hold /run/groups.release \
		>/run/groups.said 2>&1 &
	GROUPS_KEEPER=$!
	lines=1
	case $* in *--job*) lines=2 ;; esac
	need wait_until $((20 * SLOW)) groups_answered $lines
}
# It ends before release_groups only if it could not begin.
groups_answered() { has_lines /run/groups.said "$1" || absent "/proc/$GROUPS_KEEPER/exe"; }
release_groups() {
	touch /run/groups.release
	wait "$GROUPS_KEEPER" || fail "the program that kept groups failed: $(groups_said)"
}
groups_said() { paste -s -d , /run/groups.said | sed 's/,/, /g'; }
group_buffers() { awk '{ print $7, $10 }' $MODEL/groups | sort -u; }

# all_comes_back: when panthor and its binding go
all_comes_back() {
	need rmmod panthor
	need rmdir "$CONFIG/$GPU"
	check 'the TEE has every byte' wait_until 10 is_zero given_out
	check 'there is no dma-buf' wait_until 10 is_zero buffers
	check 'the modules can go' rmmod protheap csfmodel
	check 'and the TEE' unload_tee
}

# --- policy and binder ---

# policy KEY: standard input becomes /etc/protheap/policies/KEY.toml
policy() { mkdir -p /etc/protheap/policies && cat >"/etc/protheap/policies/$1.toml"; }

# prefer HEAP...: a policy that names these heaps in their order, on standard output
prefer() {
	printf 'schema = 1\n[gpu."arm,mali-valhall-csf"]\nheaps = ['
	printf '{ name = "%s" }, ' "$@"
	echo ']'
}

# no_policies: forgets those that are installed
no_policies() { rm -rf /usr/lib/protheap/policies; }

# only_default_policy: forgets those of platforms
only_default_policy() {
	for file in /usr/lib/protheap/policies/*; do
		case $file in */default.toml) ;; *) rm "$file" ;; esac
	done
}

# run_binder [ARGUMENTS]: to its end; its exit status is in $BINDER_STATUS, its words in /run/binder.log
run_binder() {
	protheap-bind "$@" >/run/binder.log 2>&1
	BINDER_STATUS=$?
}

# start_binder [ARGUMENTS]: in the background, as process $BINDER; returns when it has notified, as it notifies systemd,
# that its windows are open; the scenario fails if it does not. end_binder waits for its end.
start_binder() {
	rm -f /run/binder.ready
	protheap-guest listen /run/binder.ready $((30 * SLOW * PATIENCE)) &
	listener=$!
	need wait_until 5 exists /run/binder.ready
	NOTIFY_SOCKET=/run/binder.ready protheap-bind "$@" >/run/binder.log 2>&1 &
	BINDER=$!
	wait $listener || fail "start_binder: the binder is not ready: $(cat /run/binder.log)"
}
end_binder() {
	wait "$BINDER"
	BINDER_STATUS=$?
}

# start_daemon: in the background, as process $DAEMON; returns when it has notified that it is ready; the scenario fails
# if it does not. Its output is in $DAEMON_LOG. stop_daemon ends it as systemd does, or by the signal named; its exit
# status is in $DAEMON_STATUS.
start_daemon() {
	rm -f "$DAEMON_LOG.ready"
	protheap-guest listen "$DAEMON_LOG.ready" $((30 * SLOW * PATIENCE)) &
	listener=$!
	need wait_until 5 exists "$DAEMON_LOG.ready"
	NOTIFY_SOCKET=$DAEMON_LOG.ready protheapd >>"$DAEMON_LOG" 2>&1 &
	DAEMON=$!
	wait $listener || fail "start_daemon: the daemon is not ready: $(cat "$DAEMON_LOG")"
}
stop_daemon() {
	need kill "-${1:-TERM}" "$DAEMON"
	wait "$DAEMON" 2>/dev/null
	DAEMON_STATUS=$?
}

# reload_daemon: it reads the policies again, as by `systemctl reload`, and has written what came of it when this returns
reload_daemon() {
	written=$(stat -c %i "$STATE")
	need kill -HUP "$DAEMON"
	need wait_until 20 is_other_file "$STATE" "$written"
}
is_other_file() { differs "$(stat -c %i "$1")" "$2"; }

# daemon_kb NAME: of its memory, in KiB: VmRSS, VmHWM. daemon_ms: how long it has run on a processor.
daemon_kb() { sed -n "s/^$1:[[:space:]]*\([0-9]*\) kB/\1/p" "/proc/$DAEMON/status"; }
daemon_ms() { awk '{ print ($14 + $15) * 10 }' "/proc/$DAEMON/stat"; }

# told PATTERN: how many lines of the daemon's log match that. complaints [PATTERN]: those that match neither that, nor the
# state of a GPU, changed policies, or a missing bus; the scenario `daemon-run` has some.
told() { grep -c "$1" "$DAEMON_LOG"; }
complaints() {
	others "$DAEMON_LOG" \
		"^protheapd: ([^ ]+: (bound|in-use|unprotected|failed)\\>|these policies|there is no system bus)${1:+|$1}"
}

# state_of POINTER: from state.json, for instance /gpus/0/state; fails if there is no such member
state_of() { protheap-guest get "$STATE" "$1"; }

# step_us STEP [INDEX]: when the GPU's timeline came to that step; fails if it never did
step_us() { protheap-guest step "$STATE" "${2:-0}" "$1"; }

# ends STATE REASON: what state.json says of the first GPU
ends() { is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" "$1 $2"; }

# next_is HEAP: what would be bound now in place of what is bound; `none`: nothing else
next_is() {
	next=$(state_of /gpus/0/next/heap) || next=none
	is "$next" "$1"
}

# is_count NUMBER COMMAND..., is_zero COMMAND...: what a command prints now
is_count() { wanted=$1; shift; is "$("$@")" "$wanted"; }
is_zero() { is_count 0 "$@"; }

# --- systemd, in a scenario with `init: systemd` ---

# unit_is STATE UNIT: active, inactive, failed, ...
unit_is() { is "$(systemctl is-active "$2")" "$1"; }

# unit_us UNIT starting|started|stopped initrd|system: when it first was, in that root, by what systemd told its journal,
# in microseconds since the boot.
unit_us() {
	# systemd's catalog of messages: what has these numbers never changes.
	case $2 in
	starting) message=7d4958e842da4a758f6c1cdc7b36dcc5 ;;
	started) message=39f53479d3a045ac8e11786248231fbf ;;
	stopped) message=9d1aaa27d60140bd96365438aad20286 ;;
	esac
	journalctl --boot --output=export "UNIT=$1" "MESSAGE_ID=$message" "_RUNTIME_SCOPE=$3" |
		sed -n 's/^__MONOTONIC_TIMESTAMP=//p' | head -n 1
}
# initrd_unit_us UNIT: when the initrd's systemd began to start it; fails if its journal has not even udev's start
initrd_unit_us() {
	at_least "$(unit_us systemd-udev-trigger.service starting initrd)" 1 && unit_us "$1" starting initrd
}

# kernel_us WORDS: when the kernel first said them, by the same clock. That of its messages is ahead: by how much, a
# message tells.
kernel_us() {
	if [ ! -e /run/ahead ]; then
		now=$(protheap-guest now)
		echo 'kernel_us asks for the time' >/dev/kmsg
		echo $(($(message_us 'kernel_us asks') - now)) >/run/ahead
	fi
	at=$(message_us "$1")
	[ -z "$at" ] || echo $((at - $(cat /run/ahead)))
}
message_us() {
	dmesg | grep -F "$1" | head -n 1 | sed 's/^\[ *\([0-9]*\)\.\([0-9]*\)\].*/\1\2/; s/^0*\([0-9]\)/\1/'
}

# soft_reboot: systemd begins anew in the same kernel, and with it the scenario, with all of /run. $LIFE says which of
# its lives this is: 1, 2...
LIFE=$(cat /run/scenario.life 2>/dev/null || echo 1)
[ "$LIFE" = 1 ] || CHECKS=$(cat /run/scenario.checks)
soft_reboot() {
	echo $((LIFE + 1)) >/run/scenario.life
	echo "$CHECKS" >/run/scenario.checks
	need systemctl soft-reboot
	sleep 60
	need systemctl is-active soft-reboot.target
}

# trace: the events that the kernel has recorded, in a scenario with `trace_event=` on its command line
trace() {
	[ -e /sys/kernel/tracing/trace ] || need mount -t tracefs tracefs /sys/kernel/tracing
	cat /sys/kernel/tracing/trace
}
# programs: each program that was executed since systemd last began, and how often; systemd executes its executor, which
# becomes the unit's program, by a descriptor. all_programs: since the kernel began.
programs() {
	trace | awk '/sched_process_exec: / && / pid=1 / { delete ran }
		/sched_process_exec: / {
			sub(/.*filename=/, "")
			sub(/ pid=.*/, "")
			sub(/^\/proc\/self\/fd\/[0-9]+$/, "systemd-executor")
			ran[$0]++
		}
		END { for (name in ran) print ran[name], name }' | sort -k 2
}
all_programs() { trace | sed -n 's/.*sched_process_exec: filename=\(.*\) pid=.*/\1/p' | sort | uniq -c; }
# our_programs: those of Protheap among them
our_programs() { all_programs >/run/all-programs && matching /run/all-programs '/protheap-bind|/protheapd|/protheapctl'; }
# lost_events: how many of them the kernel had to forget
lost_events() { trace | awk -F '[:/ ]+' '/entries-in-buffer/ { print $5 - $4 }'; }
# modules_loaded: those that were loaded since the kernel began, each time that they were
modules_loaded() { trace | sed -n 's/.*module_load: \([^ ]*\).*/\1/p' | sort; }
# more_ran BEFORE AFTER: how often programs were executed more or less, of two lists of `programs`
more_ran() {
	has_lines "$1" 1 && has_lines "$2" 1 || return
	awk 'NR == FNR { was[$2] = $1; next }
		{ now[$2] = $1 }
		END {
			for (name in was) if (!(name in now)) print "-" was[name], name
			for (name in now) if (now[name] != was[name] + 0) printf "%+d %s\n", now[name] - was[name], name
		}' "$1" "$2" | sort -k 2
}

# record_boot: lists what this life has executed and loaded, as /run/programs.$LIFE and /run/modules.$LIFE
record_boot() {
	# Whatever the boot starts has run by then.
	sleep 15
	programs >/run/programs.$LIFE
	modules_loaded >/run/modules.$LIFE
	check 'the kernel has recorded all of it' is "$(lost_events)" 0
}

# install_packages: installs Debian's packages in the second life, so that the third one has them from its beginning and
# the two can be compared
install_packages() {
	[ "$LIFE" != 1 ] || soft_reboot
	if [ "$LIFE" = 2 ]; then
		check 'this root has no Protheap' absent /usr/bin/protheap-bind
		# Its initrd is of no interest here.
		need ln -sf ../bin/true /usr/sbin/update-initramfs
		check 'the packages can be installed' /usr/bin/dpkg --install /debs/1/*.deb
		soft_reboot
	fi
	check 'they are installed' exists /usr/bin/protheap-bind
	check 'and enabled' like "$(systemctl list-dependencies --plain sysinit.target)" '*protheap-bind.service*'
}

# unit_says PROPERTY UNIT: as `systemctl show` does. main_process UNIT: its number. status_of UNIT FIELD: that process's,
# of /proc.
unit_says() { systemctl show --property "$1" --value "$2"; }
main_process() { unit_says MainPID "$1"; }
status_of() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$(main_process "$1")/status"; }

# started_anew UNIT NUMBER: its main process is another one than that
started_anew() { unit_is active "$1" && differs "$(main_process "$1")" "$2"; }

# log_of UNIT [OPTIONS]: what its programs logged in this boot
log_of() {
	unit=$1
	shift
	journalctl --sync &&
		journalctl --boot --quiet --output=cat "$@" "_SYSTEMD_UNIT=$unit.service"
}
# warnings_of UNIT: warnings and errors among that; fails if it has logged nothing. `systemd-boot` has one.
warnings_of() {
	differs "$(log_of "$1")" '' && log_of "$1" --priority=warning
}
failed_units() { systemctl --failed --no-legend --plain; }

# --- the system bus, there ---

# as_user NUMBER COMMAND...: with no other rights than that user's
as_user() { protheap-guest as "$@"; }

# bus COMMAND...: a client of protheapd; see `protheap-guest`
bus() { protheap-guest bus "$@"; }

# property OBJECT NAME: of the daemon's object `manager`, `gpu` or `heap`, as busctl shows it
GPU_OBJECT=/org/protheap1/gpu/$(echo "$GPU" | sed 's/\./_2e/g')
HEAP_OBJECT=/org/protheap1/heap/protected_2csecure_2dvideo
property() {
	case $1 in
	manager) set /org/protheap1 Manager "$2" ;;
	gpu) set "$GPU_OBJECT" Gpu "$2" ;;
	heap) set "$HEAP_OBJECT" Heap "$2" ;;
	esac
	busctl get-property org.protheap1 "$1" "org.protheap1.$2" "$3"
}

# --- storms: what many processes did at once ---

# storm COMMAND SECONDS [SEED]: `protheap-guest stress` or `fuzz`; what it counted is added to /run/counts
storm() {
	say "seed ${3:-$SEED}"
	# Each message would cost more than what it tells of; warnings are still told.
	dmesg -n 5
	# shellcheck disable=SC2086
	need protheap-guest "$1" "${3:-$SEED}" "$2" $GPUS
	echo "$seen" >>/run/counts
	dmesg -n 8
}

# count NAME: how often that happened in all storms
count() { awk -v name="$1" '$1 == name { all += $2 } END { print all + 0 }' /run/counts; }

# held: what the GPUs' bindings hold, by the module's own account
held() {
	exists /sys/kernel/debug/protheap || return
	for device in $GPUS; do
		file=/sys/kernel/debug/protheap/$device
		[ ! -e "$file" ] || sed -n '/^state absent$/d; /^state /p; /^buffers [1-9]/p; /^in-use [1-9]/p' "$file"
	done
}

# leaks: memory that nobody points to. kmemleak counts what is older than 5 s, and the same in two scans.
leaks() {
	echo scan >/sys/kernel/debug/kmemleak
	sleep 5.5
	echo scan >/sys/kernel/debug/kmemleak
	cat /sys/kernel/debug/kmemleak
}

# let_go: bindings, drivers and groups go. What was not there is no matter.
let_go() {
	for device in $GPUS; do
		echo "$device" >/sys/bus/platform/drivers/csfgpu/unbind
	done 2>/dev/null
	for directory in "$CONFIG"/*/; do
		[ ! -d "$directory" ] || rmdir "$directory"
	done
	while destroy_kept >/dev/null; do :; done
}

# prove_calm: after a storm, nothing is held, all works as before, and every module can go
prove_calm() {
	let_go
	check 'after the storm: no binding holds anything' wait_until 20 empty held
	check 'the TEE has every byte back' wait_until 20 is_zero given_out
	check 'there is no dma-buf' wait_until 20 is_zero buffers
	for device in $GPUS; do
		check "$device probes" protheap-guest write /sys/bus/platform/drivers/csfgpu/bind "$device"
	done
	need unbind_gpu
	make_binding protected,secure-video 65536 2
	need bind_gpu
	check 'a binding can be made and used' is "$(attr state) $(gpu bound)" 'in-use 1'
	check 'with its suspend buffers' create_group
	let_go
	check 'all of that comes back' wait_until 20 is_zero given_out
	check 'the modules can go' rmmod csfgpu protheap
	check 'and the TEE' unload_tee
	if [ -e /sys/kernel/debug/kmemleak ]; then
		check 'kmemleak finds no leak' empty leaks
	fi
}
