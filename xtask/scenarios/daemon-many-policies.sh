# SPDX-License-Identifier: MIT OR Apache-2.0
# about: 10,000 files come among the policies while the daemon runs: it sees what counts in little time and memory
# limit: 120

VIDEO=protected,secure-video
UI=protected,trusted-ui
POLICIES=/etc/protheap/policies
FILE=radxa,rock-5b.toml

# fill COMMAND DIRECTORY SUFFIX: makes 10,000 of those
fill() {
	mkdir -p "$2"
	i=0
	while [ $i -lt 10000 ]; do
		$1 "$2/$i$3"
		i=$((i + 1))
	done
}
good() { echo 'schema = 1' >"$1"; }
bad() { echo 'x = 1' >"$1"; }
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

fill good $POLICIES .toml
sees 'files of other boards' $VIDEO none
fill mkdir $POLICIES .toml.d
sees 'directories of other boards' $UI $UI
fill good $POLICIES/$FILE.d .toml
sees 'drop-ins' $VIDEO none
check 'that not all of them count is told' like "$(state_of /refused)" "*$FILE.d*"
fill bad $POLICIES/$FILE.d .toml
sees 'bad drop-ins' $UI $UI
check 'each is told once' is "$(grep -o 'skipped: [^ ]*:' $DAEMON_LOG | sort | uniq -d)" ''
check 'and no more than are read' at_most "$(told skipped:)" 300
check 'state.json is of a size that can be read' at_most "$(wc -c <$STATE)" 262144
check 'it has grown by little' at_most "$(daemon_kb VmHWM)" $((small + 8192))
rm -r $POLICIES
check 'all are gone, and nothing is refused' wait_until 20 is_count '[]' state_of /refused
check 'nor preferred' wait_until 20 next_is none
stop_daemon
check 'it ends well' is "$DAEMON_STATUS" 0
