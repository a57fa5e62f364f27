# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Functions and variables of every scenario. A scenario checks claims with `check` and a helper: is, like, at_least,
# at_most, equal_nonzero, empty, exists, absent, fails_with. A helper succeeds, or prints the value that it found and
# fails. A failed command in its arguments never makes a helper succeed; only `empty` checks that nothing was printed.
#
#   load_protheap; load_tee; load_gpu
#   check 'the GPU is bound' is "$(attr state)" in-use
#
# $GPU is the device name of the (first) GPU, $GPUS those of all, $BOARD the board, $SEED the seed of random numbers.
# $TEE provides protected heaps: `sim`, the simulated TEE, or a real OP-TEE (`static`, `dynamic`, ...). $SLOW is
# the factor by which operations take longer on this kernel: 1, or 10 on the debug kernel. $CLOCK is the clock of guest
# time: `instructions`, or `host`, on which no claim may depend.

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

# On the clock of the host, which may be busy, timeouts only detect hangs.
PATIENCE=1
[ "$CLOCK" = instructions ] || PATIENCE=10

# Timeout of a job, in seconds.
export PANTHOR_TIMEOUT=$((10 * SLOW * PATIENCE))

GPUS=$(grep -l arm,mali-valhall-csf $DEVICES/*/of_node/compatible 2>/dev/null |
	sed "s,$DEVICES/,,; s,/.*,," | sort | tr '\n' ' ')
GPU=${GPUS%% *}

# --- claims ---

# check CLAIM COMMAND...: prints that the claim holds if the command succeeds, or else the claim and the command's
# output
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

# need COMMAND...: runs a command that has to succeed; if it fails, the scenario fails at once
need() {
	seen=$("$@" 2>&1) || fail "$* ($seen)"
}

# fail WHY: ends the scenario as failed
fail() {
	CHECKS=$((CHECKS + 1))
	echo "not ok - $*"
	exit 1
}

# finish: called after the last line of the script; a scenario that does not reach it has failed
finish() { echo "end $CHECKS"; }

say() { echo "# $*"; }

# is SEEN WANTED: the strings are equal. WANTED must not be '', the output of a failed command as well; see `empty`
is() {
	[ -n "$2" ] || { echo "saw '$1', wanted '', which is for empty"; return 1; }
	[ "$1" = "$2" ] || { echo "saw '$1', wanted '$2'"; return 1; }
}

# empty COMMAND...: the command succeeds and prints nothing, neither to standard output nor to standard error
empty() {
	seen=$("$@" 2>&1) || { echo "$* failed: '$seen'"; return 1; }
	[ -z "$seen" ] || { echo "saw '$seen', wanted nothing"; return 1; }
}

# equal_nonzero SEEN WANTED: the numbers are equal and not 0
equal_nonzero() { differs "$2" 0 && is "$1" "$2"; }

# differs SEEN UNWANTED: the strings are different
differs() { [ "$1" != "$2" ] || { echo "saw '$1'"; return 1; }; }

# like SEEN PATTERN: the whole text matches the shell pattern
like() {
	# shellcheck disable=SC2254
	case $1 in $2) ;; *) echo "saw '$1', wanted '$2'"; return 1 ;; esac
}

# at_least SEEN LIMIT, at_most SEEN LIMIT: compare integers
at_least() { [ "$1" -ge "$2" ] || { echo "saw $1, wanted at least $2"; return 1; }; }
at_most() { [ "$1" -le "$2" ] || { echo "saw $1, wanted at most $2"; return 1; }; }

# fails COMMAND...: the command can be run, and fails
fails() {
	"$@" >/dev/null 2>&1
	case $? in
	0) echo 'succeeded'; return 1 ;;
	126 | 127) echo "$1 cannot be run"; return 1 ;;
	esac
}

exists() { [ -e "$1" ] || { echo "no $1"; return 1; }; }
# absent PATH...: none of the paths exists
absent() { for path; do [ ! -e "$path" ] || { echo "$path is there"; return 1; }; done; }

# fails_with ERRNO COMMAND...: the command fails with that errno; for `protheap-guest` and `store`, which print the name
# of the errno
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

# repeated FILE: prints lines that are in the file more than once
repeated() { has_lines "$1" 1 && sort "$1" | uniq -d; }

# has_lines FILE COUNT: the file has at least that many lines
has_lines() { at_least "$(wc -l <"$1")" "$2"; }

# kernel_log [WORDS]: prints the kernel's log, or its lines with these words; fails like `matching`
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

# wait_until SECONDS COMMAND...: runs the command every 20 ms until it succeeds, for at most that time on the clock of
# the guest, or $PATIENCE times that on the clock of the host
wait_until() {
	deadline=$(($(now_ms) + $1 * 1000 * PATIENCE))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(now_ms)" -lt $deadline ] || { echo "waited for: $*; now: $("$@" 2>&1)"; return 1; }
		sleep 0.02
	done
}

# wait_for FILE VALUE SECONDS: waits until the file has that content
wait_for() { wait_until "$3" holds "$1" "$2"; }

# holds FILE VALUE: the file has that content
holds() { is "$(cat "$1" 2>&1)" "$2"; }

# --- kernel modules ---

# load_MODULE [PARAMETERS]: loads a module, for instance load_tee delay_ms=2000
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
# load_tee_late MS: loads the driver of the TEE after that time
load_tee_late() {
	case $TEE in
	sim) load_tee delay_ms="$1" ;;
	*) { sleep "$(printf %d.%03d $(($1 / 1000)) $(($1 % 1000)))" && load_tee; } & ;;
	esac
}
# unload_tee: unloads the driver of the TEE
unload_tee() {
	case $TEE in
	sim) rmmod simtee ;;
	*) rmmod optee ;;
	esac
}
load_protheap() { need modprobe protheap "$@"; }
load_gpu() { need modprobe csfgpu "$@"; }
load_video() { need modprobe simvideo "$@"; }

# load_model, load_panthor: load the simulated GPU, and the driver of the kernel for it
load_model() { need modprobe csfmodel "$@"; }
load_panthor() { need modprobe panthor "$@"; }
# use_panthor BUILD: makes `modprobe panthor` load another build than the kernel's own: `unmodified`, as in Linux,
# `parameter`, which has the parameter protected_heap_name, or `uapi`, which has the interface that was proposed for
# Linux. All link to the same modules.
use_panthor() {
	need cp "/lib/panthor/$1/panthor.ko" /lib/modules/*/panthor.ko
	# busybox's modprobe does not read /run.
	mkdir -p /etc/modprobe.d
	need ln -sf "$OPTIONS" /etc/modprobe.d
}

# use_optee unmodified: makes `modprobe optee` load the OP-TEE driver as in Linux
use_optee() { need cp "/lib/optee/$1/optee.ko" /lib/modules/*/optee.ko; }

# heap NAME: prints the path of a heap
heap() { echo "/dev/dma_heap/$1"; }

# hide_heaps: hides the class of dma-buf heaps from programs, as on a kernel without dma-buf heaps
hide_heaps() {
	mkdir -p /tmp/sys /tmp/class
	need mount --bind /sys /tmp/sys
	for class in /sys/class/*; do
		[ "${class##*/}" = dma_heap ] || ln -s "/tmp$class" /tmp/class
	done
	need mount --bind /tmp/class /sys/class
}

# drop_tee, restore_tee: remove the TEE while the scenario runs, and restore it; its heaps are dead in between
drop_tee() {
	case $TEE in
	sim) echo 1 >/sys/kernel/debug/simtee/drop ;;
	# The write returns when the last buffer is freed.
	*) protheap-guest write "$OPTEE_DRIVER/unbind" "$OPTEE" & ;;
	esac
}
restore_tee() {
	case $TEE in
	sim) echo 1 >/sys/kernel/debug/simtee/restore ;;
	*) protheap-guest write "$OPTEE_DRIVER/bind" "$OPTEE" ;;
	esac
}
# Device name of the real TEE, and the directory of its driver.
OPTEE=firmware:optee
OPTEE_DRIVER=/sys/bus/platform/drivers/optee
if [ "$TEE" = ffa ]; then
	OPTEE=arm-ffa-1
	OPTEE_DRIVER=/sys/bus/arm_ffa/drivers/optee
fi
# tee_revision: prints the revision of the real TEE that the kernel reports
tee_revision() { cat /sys/class/tee/tee0/revision; }

# --- the binding in configfs; without DEVICE, that of $GPU ---

# attr NAME [DEVICE]: prints an attribute
attr() { cat "$CONFIG/${2:-$GPU}/$1"; }

# store ATTRIBUTE VALUE [DEVICE]: writes an attribute in one write; if it fails, prints the name of the errno and fails
store() { protheap-guest write "$CONFIG/${3:-$GPU}/$1" "$2"; }

# hand_over KIND HEAP BYTES [MORE...]: see `protheap-guest hand-over`
hand_over() { protheap-guest hand-over "$GPU" "$@"; }

# make_binding HEAP BYTES COUNT: binds $GPU as the binder does, with COUNT suspend buffers of that size
make_binding() {
	need mkdir "$CONFIG/$GPU"
	need store heap "$1"
	need store firmware_bytes_wanted 262144
	need store suspend_bytes_wanted "$2"
	need store suspend_count "$3"
	if [ "$(attr source)" = handed ]; then
		need hand_over firmware "$1" 262144
		[ "$3" = 0 ] || need hand_over suspend "$1" "$2" --count "$3"
	fi
	need store commit bind
}

# counter NAME [DEVICE]: prints a counter of the binding from debugfs
counter() { sed -n "s/^$1 //p" "/sys/kernel/debug/protheap/${2:-$GPU}"; }

# given_out: prints how many bytes of its heaps the TEE has allocated
given_out() {
	case $TEE in
	sim) cat /sys/kernel/debug/simtee/given_out ;;
	# SIZE FLAGS MODE COUNT EXPORTER INODE NAME, and lines about each. With leading zeros, the size would be octal.
	*) awk '$5 == "tee" { sub(/^0+/, "", $1); all += $1 } END { print all + 0 }' /sys/kernel/debug/dma_buf/bufinfo ;;
	esac
}

# cma_free: prints the free KiB of the kernel's CMA area
cma_free() { awk '$1 == "CmaFree:" { print $2 }' /proc/meminfo; }

# buffers: prints the number of dma-bufs in the kernel
buffers() { sed -n 's/^Total \([0-9]*\) objects.*/\1/p' /sys/kernel/debug/dma_buf/bufinfo; }

# --- the GPU's driver ---

# driver [DEVICE]: prints the driver bound to the device; fails if there is none
driver() { link=$(readlink "$DEVICES/${1:-$GPU}/driver") && echo "${link##*/}"; }
# has_no_driver [DEVICE]: the device exists, and no driver is bound to it
has_no_driver() { exists "$DEVICES/${1:-$GPU}" && absent "$DEVICES/${1:-$GPU}/driver"; }

# gpu_probed [DEVICE]: the driver has finished probing the device. The link to the driver exists from the start of the
# probe; the files and nodes of the driver appear at its end.
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

# render_node [DEVICE]: prints the render node of the device; fails if programs cannot open it
render_node() {
	for node in "$DEVICES/${1:-$GPU}/drm"/renderD*; do
		node=/dev/dri/${node##*/}
		(: <>"$node") 2>/dev/null && echo "$node" && return
	done
	echo "${1:-$GPU} has no render node that can be opened"
	return 1
}

# gpu VALUE [DEVICE]: prints a value of the driver csfgpu: probed_at_us, bound, firmware_bytes, groups, late_bounds...
gpu() { cat "/sys/kernel/debug/csfgpu/${2:-$GPU}/$1"; }

# unbind_gpu [DRIVER], bind_gpu [DRIVER]: unbind and bind $GPU in sysfs, as an administrator does
unbind_gpu() { protheap-guest write "/sys/bus/platform/drivers/${1:-csfgpu}/unbind" "$GPU"; }
bind_gpu() { protheap-guest write "/sys/bus/platform/drivers/${1:-csfgpu}/bind" "$GPU"; }

# create_group, destroy_group [DEVICE]: make and destroy a protected group, which uses one suspend buffer. keep_group
# makes the last group outlive its driver, destroy_kept destroys one such group.
create_group() { protheap-guest write "/sys/kernel/debug/csfgpu/${1:-$GPU}/groups" create; }
destroy_group() { protheap-guest write "/sys/kernel/debug/csfgpu/${1:-$GPU}/groups" destroy; }

keep_group() { protheap-guest write "/sys/kernel/debug/csfgpu/${1:-$GPU}/groups" keep; }
destroy_kept() { protheap-guest write /sys/kernel/debug/csfgpu/kept destroy; }

# --- the real panthor, on the simulated GPU ---

MODEL=/sys/kernel/debug/csfmodel

# bound_panthor COUNT [PARAMETERS]: loads panthor for the simulated GPU, with a binding of COUNT suspend buffers
bound_panthor() {
	count=$1
	shift
	load_model "$@"
	load_tee
	load_protheap
	make_binding protected,secure-video 65536 "$count"
	load_panthor
}

# panthor COMMAND...: runs a program that uses the GPU; see `protheap-guest`
panthor() { protheap-guest panthor "$@"; }

# model COUNTER, firmware_says NAME: print values of the simulated GPU; see driver/testing/csfmodel/report.c
model() { sed -n "s/^$1 //p" $MODEL/counters; }
firmware_says() { sed -n "s/^$1 //p" $MODEL/firmware; }

# check_model: prints `fine`, or the violations that the simulated GPU has found
check_model() { cat $MODEL/check; }

# inject FAULT: injects a fault into the simulated GPU; see driver/testing/csfmodel/inject.c
inject() { protheap-guest write $MODEL/inject "$1"; }

# is_driver NAME: the driver of that name has probed $GPU
is_driver() { is "$(driver)" "$1" && gpu_probed; }

# gpu_sleeps: the GPU is suspended. booted_since BOOTS: the firmware has booted more than BOOTS times.
gpu_sleeps() { holds "$DEVICES/$GPU/power/runtime_status" suspended; }
booted_since() { at_least "$(model boots)" $(($1 + 1)); }

# keep_awake, let_sleep: disable and enable runtime suspend; the model reads page tables only of an active GPU
keep_awake() { echo on >"$DEVICES/$GPU/power/control"; }
let_sleep() { echo auto >"$DEVICES/$GPU/power/control"; }

# groups_per_file NUMBER: sets the maximum of protected groups for one open file; 0 is half of the suspend buffers
groups_per_file() { echo "$1" >/sys/module/panthor/parameters/protheap_groups_per_file; }

# keep_groups NUMBER [OPTIONS]: a program makes that many groups and keeps them until release_groups. The scenario fails
# unless all were made, and with --job, have run a job. try_groups returns when as many groups as possible were made,
# with the rights of $GROUPS_USER, which is root by default. groups_said prints the output of the program so far,
# group_buffers the memory of the groups' two suspend buffers (each answer once).
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
# The program exits before release_groups only if it could not start.
groups_answered() { has_lines /run/groups.said "$1" || absent "/proc/$GROUPS_KEEPER/exe"; }
release_groups() {
	touch /run/groups.release
	wait "$GROUPS_KEEPER" || fail "the program that kept groups failed: $(groups_said)"
}
groups_said() { paste -s -d , /run/groups.said | sed 's/,/, /g'; }
group_buffers() { awk '{ print $7, $10 }' $MODEL/groups | sort -u; }

# all_comes_back: unloads panthor, withdraws its binding, and checks that no resource is left
all_comes_back() {
	need rmmod panthor
	need rmdir "$CONFIG/$GPU"
	check 'after panthor: the TEE has all memory back' wait_until 10 is_zero given_out
	check 'after panthor: no dma-buf is left' wait_until 10 is_zero buffers
	check 'after panthor: protheap and csfmodel can be unloaded' rmmod protheap csfmodel
	check 'after panthor: the TEE can be unloaded' unload_tee
}

# --- policy and binder ---

# policy KEY: writes standard input to /etc/protheap/policies/KEY.toml
policy() { mkdir -p /etc/protheap/policies && cat >"/etc/protheap/policies/$1.toml"; }

# prefer HEAP...: prints a policy with these candidates in that order
prefer() {
	printf 'schema = 1\n[gpu."arm,mali-valhall-csf"]\nheaps = ['
	printf '{ name = "%s" }, ' "$@"
	echo ']'
}

# no_policies: removes the installed policies
no_policies() { rm -rf /usr/lib/protheap/policies; }

# only_default_policy: removes the policies of platforms
only_default_policy() {
	for file in /usr/lib/protheap/policies/*; do
		case $file in */default.toml) ;; *) rm "$file" ;; esac
	done
}

# run_binder [ARGUMENTS]: runs the binder; its exit status is in $BINDER_STATUS, its output in /run/binder.log
run_binder() {
	protheap-bind "$@" >/run/binder.log 2>&1
	BINDER_STATUS=$?
}

# start_binder [ARGUMENTS]: starts the binder in the background, as process $BINDER, and returns when the binder has
# sent its readiness notification for systemd, after its holds have begun; the scenario fails if the binder sends none.
# end_binder waits until the binder exits.
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

# start_daemon: starts the daemon in the background, as process $DAEMON, and returns when the daemon has sent its
# readiness notification; the scenario fails if the daemon sends none. The output of the daemon is in $DAEMON_LOG.
# stop_daemon sends SIGTERM, as systemd does, or the given signal; the exit status is in $DAEMON_STATUS.
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

# reload_daemon: makes the daemon read the policies again, as `systemctl reload` does; returns when the daemon has
# written its state
reload_daemon() {
	written=$(stat -c %i "$STATE")
	need kill -HUP "$DAEMON"
	need wait_until 20 is_other_file "$STATE" "$written"
}
is_other_file() { differs "$(stat -c %i "$1")" "$2"; }

# daemon_kb NAME: prints the memory of the daemon in KiB: VmRSS, VmHWM. daemon_ms: prints its processor time.
daemon_kb() { sed -n "s/^$1:[[:space:]]*\([0-9]*\) kB/\1/p" "/proc/$DAEMON/status"; }
daemon_ms() { awk '{ print ($14 + $15) * 10 }' "/proc/$DAEMON/stat"; }

# log_count PATTERN: prints how many lines of the daemon's log match. complaints [PATTERN]: prints the lines that match
# neither PATTERN, nor the state of a GPU, changed policies, or a missing bus; the scenario `daemon-run` has some.
log_count() { grep -c "$1" "$DAEMON_LOG"; }
complaints() {
	others "$DAEMON_LOG" \
		"^protheapd: ([^ ]+: (bound|in-use|unprotected|failed)\\>|policies in effect|failed to connect to the system bus)${1:+|$1}"
}

# state_of POINTER: prints a member of state.json, for instance /gpus/0/state; fails if there is none
state_of() { protheap-guest get "$STATE" "$1"; }

# step_us STEP [INDEX]: prints the time of a step in the GPU's timeline; fails if there is none
step_us() { protheap-guest step "$STATE" "${2:-0}" "$1"; }

# ends STATE REASON: the first GPU has that state and reason in state.json
ends() { is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" "$1 $2"; }

# next_is HEAP: HEAP would be bound now in place of the bound heap; `none` if no other heap would be
next_is() {
	next=$(state_of /gpus/0/next/heap) || next=none
	is "$next" "$1"
}

# is_count NUMBER COMMAND..., is_zero COMMAND...: compare the output of a command
is_count() { wanted=$1; shift; is "$("$@")" "$wanted"; }
is_zero() { is_count 0 "$@"; }

# --- systemd, in a scenario with `init: systemd` ---

# unit_is STATE UNIT: the unit is active, inactive, failed, ...
unit_is() { is "$(systemctl is-active "$2")" "$1"; }

# unit_us UNIT starting|started|stopped initrd|system: prints the time at which the unit first was in that state, in
# that root, according to the journal, in microseconds since boot
unit_us() {
	# Identifiers from the message catalog of systemd, which are stable.
	case $2 in
	starting) message=7d4958e842da4a758f6c1cdc7b36dcc5 ;;
	started) message=39f53479d3a045ac8e11786248231fbf ;;
	stopped) message=9d1aaa27d60140bd96365438aad20286 ;;
	esac
	journalctl --boot --output=export "UNIT=$1" "MESSAGE_ID=$message" "_RUNTIME_SCOPE=$3" |
		sed -n 's/^__MONOTONIC_TIMESTAMP=//p' | head -n 1
}

# kernel_us WORDS: prints the time of the first kernel message with these words, on the same clock. The clock of the
# kernel log is ahead of it; a message of known time shows the difference.
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

# soft_reboot: restarts systemd in the same kernel, and with it the scenario; /run is preserved. $LIFE is the number of
# the run: 1, 2...
LIFE=$(cat /run/scenario.life 2>/dev/null || echo 1)
[ "$LIFE" = 1 ] || CHECKS=$(cat /run/scenario.checks)
soft_reboot() {
	echo $((LIFE + 1)) >/run/scenario.life
	echo "$CHECKS" >/run/scenario.checks
	need systemctl soft-reboot
	sleep 60
	need systemctl is-active soft-reboot.target
}

# trace: prints the events that the kernel has traced, in a scenario with `trace_event=` on its command line
trace() {
	[ -e /sys/kernel/tracing/trace ] || need mount -t tracefs tracefs /sys/kernel/tracing
	cat /sys/kernel/tracing/trace
}
# reset_us: prints the duration of panthor's last reset in microseconds, if work items are traced
reset_us() {
	trace | awk '
		function us() { match($0, /[0-9]+\.[0-9]+: workqueue/); return substr($0, RSTART, RLENGTH) * 1000000 }
		/workqueue_execute_start: .*panthor_device_reset_work/ { begun = us() }
		/workqueue_execute_end: .*panthor_device_reset_work/ { took = us() - begun }
		END { printf "%d\n", took }'
}
# forget_trace: removes the events that the kernel has traced
forget_trace() {
	trace >/dev/null
	echo >/sys/kernel/tracing/trace
}
# programs: prints each program that was executed since systemd last started, and how often; systemd executes its
# executor, which becomes the unit's program, by a descriptor. all_programs: the same since the kernel started.
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
# our_programs: prints the programs of Protheap among them
our_programs() { all_programs >/run/all-programs && matching /run/all-programs '/protheap-bind|/protheapd|/protheapctl'; }
# lost_events: prints the number of trace events that the kernel has lost
lost_events() { trace | awk -F '[:/ ]+' '/entries-in-buffer/ { print $5 - $4 }'; }
# modules_loaded: prints each loading of a module since the kernel started
modules_loaded() { trace | sed -n 's/.*module_load: \([^ ]*\).*/\1/p' | sort; }
# more_ran BEFORE AFTER: prints the difference between two outputs of `programs`
more_ran() {
	has_lines "$1" 1 && has_lines "$2" 1 || return
	awk 'NR == FNR { was[$2] = $1; next }
		{ now[$2] = $1 }
		END {
			for (name in was) if (!(name in now)) print "-" was[name], name
			for (name in now) if (now[name] != was[name] + 0) printf "%+d %s\n", now[name] - was[name], name
		}' "$1" "$2" | sort -k 2
}

# record_boot: writes the executed programs and loaded modules of this run to /run/programs.$LIFE and /run/modules.$LIFE
record_boot() {
	# All programs that the boot starts have run by then.
	sleep 15
	programs >/run/programs.$LIFE
	modules_loaded >/run/modules.$LIFE
	check 'the kernel has lost no trace event' is "$(lost_events)" 0
}

# install_packages: installs Debian's packages in the second run, so that the second run, without packages, can be
# compared with the third one
install_packages() {
	[ "$LIFE" != 1 ] || soft_reboot
	if [ "$LIFE" = 2 ]; then
		check 'the root without packages has no protheap-bind' absent /usr/bin/protheap-bind
		# An update of the initrd takes long and is not checked here.
		need ln -sf ../bin/true /usr/sbin/update-initramfs
		check 'dpkg installs the packages' /usr/bin/dpkg --install /debs/1/*.deb
		soft_reboot
	fi
	check 'the root with packages has protheap-bind' exists /usr/bin/protheap-bind
	check 'the packages enable protheap-bind.service' like "$(systemctl list-dependencies --plain sysinit.target)" '*protheap-bind.service*'
}

# unit_says PROPERTY UNIT: prints it, like `systemctl show`. main_process UNIT: prints its process ID. status_of UNIT
# FIELD: prints a field of that process from /proc.
unit_says() { systemctl show --property "$1" --value "$2"; }
main_process() { unit_says MainPID "$1"; }
status_of() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$(main_process "$1")/status"; }

# started_anew UNIT NUMBER: the unit is active, and its main process is not NUMBER
started_anew() { unit_is active "$1" && differs "$(main_process "$1")" "$2"; }

# log_of UNIT [OPTIONS]: prints what its programs logged in this boot
log_of() {
	unit=$1
	shift
	journalctl --sync &&
		journalctl --boot --quiet --output=cat "$@" "_SYSTEMD_UNIT=$unit.service"
}
# warnings_of UNIT: prints its warnings and errors; fails if the unit has logged nothing. The scenario `systemd-boot`
# provokes a warning.
warnings_of() {
	differs "$(log_of "$1")" '' && log_of "$1" --priority=warning
}
failed_units() { systemctl --failed --no-legend --plain; }

# --- the system bus, in a scenario with `init: systemd` ---

# as_user NUMBER COMMAND...: runs the command with only the rights of that user
as_user() { protheap-guest as "$@"; }

# bus COMMAND...: runs a client of protheapd; see `protheap-guest`
bus() { protheap-guest bus "$@"; }

# property OBJECT NAME: prints a property of the object `manager`, `gpu` or `heap` of the daemon, like busctl
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

# --- storms: random operations of many processes ---

# storm COMMAND SECONDS [SEED]: runs `protheap-guest stress` or `fuzz`; its counts are added to /run/counts
storm() {
	say "seed ${3:-$SEED}"
	# Printing all messages would take longer than the operations; warnings are still printed.
	dmesg -n 5
	# shellcheck disable=SC2086
	need protheap-guest "$1" "${3:-$SEED}" "$2" $GPUS
	echo "$seen" >>/run/counts
	dmesg -n 8
}

# count NAME: prints the sum of that count of all storms
count() { awk -v name="$1" '$1 == name { all += $2 } END { print all + 0 }' /run/counts; }

# held: prints the resources of all bindings that the module reports in debugfs
held() {
	exists /sys/kernel/debug/protheap || return
	for device in $GPUS; do
		file=/sys/kernel/debug/protheap/$device
		[ ! -e "$file" ] || sed -n '/^state absent$/d; /^state /p; /^buffers [1-9]/p; /^in-use [1-9]/p' "$file"
	done
}

# leaks: prints leaked memory. kmemleak reports objects that are older than 5 s and found in two scans.
leaks() {
	echo scan >/sys/kernel/debug/kmemleak
	sleep 5.5
	echo scan >/sys/kernel/debug/kmemleak
	cat /sys/kernel/debug/kmemleak
}

# release_all: unbinds all drivers, and removes all bindings and groups
release_all() {
	for device in $GPUS; do
		echo "$device" >/sys/bus/platform/drivers/csfgpu/unbind
	done 2>/dev/null
	for directory in "$CONFIG"/*/; do
		[ ! -d "$directory" ] || rmdir "$directory"
	done
	while destroy_kept >/dev/null; do :; done
}

# check_idle: after a storm, checks that no resource is in use, that binding works, and that every module can be
# unloaded
check_idle() {
	release_all
	check 'after the storm: no binding holds a resource' wait_until 20 empty held
	check 'after the storm: the TEE has all memory back' wait_until 20 is_zero given_out
	check 'after the storm: no dma-buf is left' wait_until 20 is_zero buffers
	for device in $GPUS; do
		check "after the storm: $device probes" protheap-guest write /sys/bus/platform/drivers/csfgpu/bind "$device"
	done
	need unbind_gpu
	make_binding protected,secure-video 65536 2
	need bind_gpu
	check 'after the storm: a GPU uses a new binding' is "$(attr state) $(gpu bound)" 'in-use 1'
	check 'after the storm: a group gets a suspend buffer' create_group
	release_all
	check 'after the storm: the TEE has the memory of that binding back' wait_until 20 is_zero given_out
	check 'after the storm: csfgpu and protheap can be unloaded' rmmod csfgpu protheap
	check 'after the storm: the TEE can be unloaded' unload_tee
	if [ -e /sys/kernel/debug/kmemleak ]; then
		check 'kmemleak finds no leak' empty leaks
	fi
}
