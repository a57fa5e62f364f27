# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the system bus goes and comes back, or comes late: the daemon and its bindings do not depend on it
# init: systemd
# cmdline: simtee.delay_ms=200
# limit: 240

BUS=87b62167e07a46218ca1969adbf41224

answers() { is "$(property gpu State)" 's "in-use"'; }
times_said() { log_of protheapd "MESSAGE_ID=$BUS" | grep -c "$1"; }
said() { is_count "$1" times_said "$2"; }

need wait_until 10 answers
daemon=$(main_process protheapd)
bound=$(property gpu BoundTimestampMonotonic)
buffers=$(buffers)
need systemctl restart dbus-broker
check 'when the bus has begun anew, the daemon is there' wait_until 20 answers
check 'the same one' is "$(main_process protheapd)" "$daemon"
check 'the binding as well' is "$(property gpu BoundTimestampMonotonic) $(buffers)" "$bound $buffers"
check 'it has said so once' said 1 'has gone'

need systemctl stop dbus.socket dbus-broker
check 'without a bus it goes on' wait_until 10 said 2 'has gone'
need unbind_gpu panthor
check 'and tells by files' wait_until 10 ends bound adopted
need systemctl restart protheapd
check 'without a bus it starts' unit_is active protheapd
check 'and adopts what is bound' wait_until 10 ends bound adopted
need bind_gpu panthor
check 'and follows the GPU' wait_until 10 ends in-use adopted
check 'that there is no bus is said' wait_until 10 said 1 'no system bus yet'
# Long enough for some tries.
sleep 5
check 'once' said 1 'no system bus yet'
need systemctl start dbus.socket
check 'when the bus comes, it has its name there' wait_until 30 answers
check 'no unit has failed' empty failed_units
