# SPDX-License-Identifier: MIT OR Apache-2.0
# about: 10,000 files come among the policies while the daemon runs: it sees what counts in little time and memory
# limit: 120

VIDEO=protected,secure-video
UI=protected,trusted-ui
POLICIES=/etc/protheap/policies
FILE=radxa,rock-5b.toml

# fill DIRECTORY TEXT: 10,000 files with that text
fill() {
	mkdir -p "$1"
	i=0
	while [ $i -lt 10000 ]; do
		echo "$2" >"$1/$i.toml"
		i=$((i + 1))
	done
}
# sees WHAT HEAP NEXT: after those, another heap becomes the better one, or none
sees() {
	begin=$(now_ms)
	prefer "$2" >$POLICIES/$FILE
	check "$1: what counts is seen" wait_until 20 next_is "$3"
	say "$(($(now_ms) - begin)) ms, $(daemon_kb VmHWM) KiB, $(wc -c <$STATE) bytes of state, $(wc -l <$DAEMON_LOG) lines"
	check 'the binding in use stays' is "$(attr state) $(attr heap)" "in-use $VIDEO"
}

load_tee "heaps=$VIDEO;$UI"
load_protheap
run_binder
load_gpu
start_daemon
mkdir -p $POLICIES
sees 'one file' $UI $UI
small=$(daemon_kb VmHWM)

fill $POLICIES 'schema = 1'
sees 'files of other boards' $VIDEO none
seq 10000 | sed "s,.*,$POLICIES/&.toml.d," | xargs mkdir
sees 'directories of other boards' $UI $UI
fill $POLICIES/$FILE.d 'schema = 1'
sees 'drop-ins' $VIDEO none
check 'that not all of them count is told' like "$(state_of /refused)" "*$FILE.d*"
fill $POLICIES/$FILE.d 'x = 1'
sees 'bad drop-ins' $UI $UI
grep -o 'skipped: [^ ]*:' $DAEMON_LOG >/run/skipped
check 'bad drop-ins: protheapd logs some' at_least "$(log_count skipped:)" 1
check 'bad drop-ins: protheapd logs none twice' empty repeated /run/skipped
check 'bad drop-ins: protheapd logs no more than it reads' at_most "$(log_count skipped:)" 300
check 'state.json is of a size that can be read' at_most "$(wc -c <$STATE)" 262144
check 'it has grown by little' at_most "$(daemon_kb VmHWM)" $((small + 8192))
rm -r $POLICIES
check 'all are gone, and nothing is refused' wait_until 20 is_count '[]' state_of /refused
check 'nor preferred' wait_until 20 next_is none
stop_daemon
check 'it ends well' is "$DAEMON_STATUS" 0
