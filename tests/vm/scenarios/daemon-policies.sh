# SPDX-License-Identifier: MIT OR Apache-2.0
# about: policies change while the daemon runs, in every way that files can: it sees each, and leaves what is in use
# limit: 90

VIDEO=protected,secure-video
UI=protected,trusted-ui
POLICIES=/etc/protheap/policies
FILE=radxa,rock-5b.toml

# sees WHAT HEAP: after that, another heap is the better one, or none; the GPU has what it had
sees() {
	check "$1: it is seen" wait_until 10 next_is "$2"
	check 'the binding in use stays' is "$(attr state) $(attr heap) $(gpu firmware_dma)" "in-use $VIDEO $dma"
}
refused() { state_of /refused/0/"$1"; }
is_reported() { like "$(refused path)" "*/$FILE"; }
is_refused() { like "$(refused path) $(refused kept)" "*/$FILE true"; }
nothing_refused() { is "$(state_of /refused)" '[]'; }

load_tee "heaps=$VIDEO;$UI"
load_protheap
run_binder
load_gpu
need is "$(attr state) $(attr heap)" "in-use $VIDEO"
dma=$(gpu firmware_dma)
start_daemon
need next_is none

mkdir -p $POLICIES
prefer $UI $VIDEO >$POLICIES/$FILE
sees 'a directory where there was none' $UI
prefer $VIDEO >$POLICIES/$FILE
sees 'a file is written anew' none
prefer $UI >$POLICIES/.new
mv $POLICIES/.new $POLICIES/$FILE
sees 'another takes its place' $UI
cp -r $POLICIES $POLICIES.new
prefer $VIDEO >$POLICIES.new/$FILE
mv $POLICIES $POLICIES.old
mv $POLICIES.new $POLICIES
sees 'another directory takes the place of all' none
prefer $UI >$POLICIES/$FILE
sees 'a file in that one' $UI
cp -r /etc/protheap /etc/protheap.new
prefer $VIDEO >/etc/protheap.new/policies/$FILE
mv /etc/protheap /etc/protheap.old
mv /etc/protheap.new /etc/protheap
sees 'another directory takes the place of the one above' none
prefer $UI >$POLICIES/$FILE
sees 'a file in that one, too' $UI

mkdir /srv
cp -r $POLICIES /srv/one
cp -r /srv/one /srv/two
prefer $VIDEO >/srv/two/$FILE
rm -r $POLICIES
ln -s /srv/two $POLICIES
sees 'a link to a directory' none
ln -s /srv/one $POLICIES.new
mv -T $POLICIES.new $POLICIES
sees 'a link to another' $UI
prefer $VIDEO >/srv/one/$FILE
sees 'a file behind that' none

mkdir /srv/one/$FILE.d
prefer $UI >/srv/one/$FILE.d/ui.toml
sees 'a directory of drop-ins' $UI
prefer $VIDEO >/srv/one/$FILE.d/ui.toml
sees 'a drop-in' none
mkdir -p /run/protheap/policies
rm -r /srv/one/*
prefer $UI >/run/protheap/policies/$FILE
sees 'one of this boot' $UI
rm -r /run/protheap/policies
sees 'all are gone' none

echo 'x = 1' >/srv/elsewhere
ln -s /srv/elsewhere $POLICIES/$FILE
check 'a file that was never valid is refused' wait_until 10 is_reported
prefer $UI >/srv/elsewhere
reload_daemon
sees 'SIGHUP: what is behind a link of a file' $UI
check 'nothing is wrong with it' nothing_refused
rm $POLICIES/$FILE
need wait_until 10 next_is none

prefer $UI >$POLICIES/$FILE
need wait_until 10 next_is $UI
lines=$(log_count "skipped: .*$FILE")
echo 'heaps = ' >$POLICIES/$FILE
check 'a file that became bad is refused, and what it said before is kept' wait_until 10 is_refused
sees 'what it said still counts' $UI
reload_daemon
reload_daemon
check 'the log reports the file once' is "$(log_count "skipped: .*$FILE")" $((lines + 1))
prefer $UI >$POLICIES/$FILE
check 'it is good again' wait_until 10 nothing_refused
echo 'heaps = ' >$POLICIES/$FILE
need wait_until 10 is_refused
check 'a file that becomes invalid again is reported again' is "$(log_count "skipped: .*$FILE")" $((lines + 2))
need unbind_gpu
check 'what it said when it was good is what is bound next' wait_until 10 holds "$CONFIG/$GPU/heap" $UI
need bind_gpu
check 'the GPU has it' is "$(attr state) $(gpu bound)" 'in-use 1'
stop_daemon
check 'the daemon ends well' is "$DAEMON_STATUS" 0
