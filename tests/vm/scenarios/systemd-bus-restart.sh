# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the daemon and its bindings do not depend on the system bus, which restarts, disappears, and starts late
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
check 'the daemon answers after the bus has restarted' wait_until 20 answers
check 'the daemon has not restarted with the bus' is "$(main_process protheapd)" "$daemon"
check 'the binding is unchanged after the bus has restarted' is "$(property gpu BoundTimestampMonotonic) $(buffers)" "$bound $buffers"
check 'the daemon logs once that the bus is gone' said 1 'lost the connection to the system bus'

need systemctl stop dbus.socket dbus-broker
check 'the daemon logs again that the bus is gone' wait_until 10 said 2 'lost the connection to the system bus'
need unbind_gpu panthor
check 'the daemon updates state.json without a bus' wait_until 10 ends bound adopted
need systemctl restart protheapd
check 'the daemon starts without a bus' unit_is active protheapd
check 'the daemon adopts the binding without a bus' wait_until 10 ends bound adopted
need bind_gpu panthor
check 'the daemon follows the GPU driver without a bus' wait_until 10 ends in-use adopted
check 'the daemon logs that there is no bus' wait_until 10 said 1 'failed to connect to the system bus'
# Long enough for several attempts to connect.
sleep 5
check 'the daemon logs once that there is no bus' said 1 'failed to connect to the system bus'
need systemctl start dbus.socket
check 'the daemon answers when the bus has started' wait_until 30 answers
check 'no unit has failed' empty failed_units
