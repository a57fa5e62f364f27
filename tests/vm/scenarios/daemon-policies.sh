# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the daemon applies every kind of change of policy files while it runs, and leaves the binding in use as it is
# limit: 90

VIDEO=protected,secure-video
UI=protected,trusted-ui
POLICIES=/etc/protheap/policies
FILE=radxa,rock-5b.toml

# sees WHAT HEAP: the daemon reports HEAP, or none, as the preferred heap after that change; the GPU keeps its own
sees() {
	check "$1: the daemon applies it" wait_until 10 next_is "$2"
	check 'the GPU keeps the heap that it uses' is "$(attr state) $(attr heap) $(gpu firmware_dma)" "in-use $VIDEO $dma"
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
sees 'a new directory' $UI
prefer $VIDEO >$POLICIES/$FILE
sees 'a file is overwritten' none
prefer $UI >$POLICIES/.new
mv $POLICIES/.new $POLICIES/$FILE
sees 'a file is replaced' $UI
cp -r $POLICIES $POLICIES.new
prefer $VIDEO >$POLICIES.new/$FILE
mv $POLICIES $POLICIES.old
mv $POLICIES.new $POLICIES
sees 'the directory is replaced' none
prefer $UI >$POLICIES/$FILE
sees 'a file in the new directory' $UI
cp -r /etc/protheap /etc/protheap.new
prefer $VIDEO >/etc/protheap.new/policies/$FILE
mv /etc/protheap /etc/protheap.old
mv /etc/protheap.new /etc/protheap
sees 'the directory above is replaced' none
prefer $UI >$POLICIES/$FILE
sees 'a file below the new directory above' $UI

mkdir /srv
cp -r $POLICIES /srv/one
cp -r /srv/one /srv/two
prefer $VIDEO >/srv/two/$FILE
rm -r $POLICIES
ln -s /srv/two $POLICIES
sees 'a link to a directory' none
ln -s /srv/one $POLICIES.new
mv -T $POLICIES.new $POLICIES
sees 'a link to another directory' $UI
prefer $VIDEO >/srv/one/$FILE
sees 'a file behind a link' none

mkdir /srv/one/$FILE.d
prefer $UI >/srv/one/$FILE.d/ui.toml
sees 'a directory of drop-ins' $UI
prefer $VIDEO >/srv/one/$FILE.d/ui.toml
sees 'a drop-in' none
mkdir -p /run/protheap/policies
rm -r /srv/one/*
prefer $UI >/run/protheap/policies/$FILE
sees 'a policy in /run' $UI
rm -r /run/protheap/policies
sees 'all policies are removed' none

echo 'x = 1' >/srv/elsewhere
ln -s /srv/elsewhere $POLICIES/$FILE
check 'the daemon refuses a file that was never valid' wait_until 10 is_reported
prefer $UI >/srv/elsewhere
reload_daemon
sees 'SIGHUP: the target of a link' $UI
check 'SIGHUP: the daemon refuses no file' nothing_refused
rm $POLICIES/$FILE
need wait_until 10 next_is none

prefer $UI >$POLICIES/$FILE
need wait_until 10 next_is $UI
lines=$(log_count "skipped: .*$FILE")
echo 'heaps = ' >$POLICIES/$FILE
check 'the daemon refuses a file that became invalid, and keeps its former content' wait_until 10 is_refused
sees 'the former content of a refused file' $UI
reload_daemon
reload_daemon
check 'the daemon logs the refused file once' is "$(log_count "skipped: .*$FILE")" $((lines + 1))
prefer $UI >$POLICIES/$FILE
check 'the daemon accepts the corrected file' wait_until 10 nothing_refused
echo 'heaps = ' >$POLICIES/$FILE
need wait_until 10 is_refused
check 'the daemon logs the file again when it becomes invalid again' is "$(log_count "skipped: .*$FILE")" $((lines + 2))
need unbind_gpu
check 'the daemon binds the heap of the former content when the driver is unbound' wait_until 10 holds "$CONFIG/$GPU/heap" $UI
need bind_gpu
check 'the GPU uses the heap of the former content' is "$(attr state) $(gpu bound)" 'in-use 1'
stop_daemon
check 'the daemon exits with status 0' is "$DAEMON_STATUS" 0
