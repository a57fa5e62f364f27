# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The guest of `demo --systemd --shell`: prints the events of `demo --systemd` on the console, and starts a shell.

exec </dev/console >/dev/console 2>&1
. /scenarios/demo-systemd.sh >/run/story
awk '$1 == "story" { at = $2 / 1e6; sub(/^story [0-9]+ /, ""); printf "  %7.3f s  %s\n", at, $0 }' /run/story
keep_groups 2 --protected
cat <<END

This is a virtual $BOARD, whose GPU has two protected groups. Commands to try:

  protheapctl                    show the state of the GPU
  protheapctl explain            show the selected heap, its policy, and the rejected heaps
  busctl tree org.protheap1      show the objects on D-Bus
  journalctl -b -u protheap-bind -u protheapd
  poweroff                       power the machine off
END
# The poweroff of busybox signals an init that is not systemd.
echo "alias poweroff=exit; PS1='guest# '" >/run/shell
export ENV=/run/shell SYSTEMD_PAGER=cat
setsid -c sh -i
release_groups
