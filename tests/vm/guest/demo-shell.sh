# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The guest of `demo --systemd --shell`: the same story on the console, and then a shell.

exec </dev/console >/dev/console 2>&1
. /scenarios/demo-systemd.sh >/run/story
awk '$1 == "story" { at = $2 / 1e6; sub(/^story [0-9]+ /, ""); printf "  %7.3f s  %s\n", at, $0 }' /run/story
keep_groups 2 --protected
cat <<END

This is a virtual $BOARD, whose GPU has two protected groups. What to try:

  protheapctl                    what became of the GPU
  protheapctl explain            which heap, by which policy, and why not another
  busctl tree org.protheap1      the same for programs
  journalctl -b -u protheap-bind -u protheapd
  poweroff                       ends it
END
# Busybox's own poweroff asks an init that is not systemd.
echo "alias poweroff=exit; PS1='guest# '" >/run/shell
export ENV=/run/shell SYSTEMD_PAGER=cat
setsid -c sh -i
release_groups
