#!/bin/sh
# PID 1 of the guest that the demo and the tests boot.
#
# It runs a DHCP client on every network interface, also one plugged in later, reports events on the serial console in
# lines `guest: EVENT key=value …`, runs commands that are typed there, and follows the kernel command line:
#   guest.ping=A,B     ping these addresses after the first lease (`router` is the router of the lease)
#   guest.then=ACTION  then poweroff, reboot or crash; without it the guest keeps running
#   guest.now=ACTION   the same at once, without waiting for a lease
#   guest.button=off   ignore the power button, as a hung guest does

export PATH=/bin
busybox mkdir -p /proc /sys /dev /tmp /run /etc
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
busybox --install -s /bin
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -echo -onlcr 2>/dev/null

report() {
    read -r uptime _ </proc/uptime
    echo "guest: $1 uptime=$uptime${2:+ $2}"
}

setting() {
    for word in $(cat /proc/cmdline); do
        case $word in "guest.$1="*) echo "${word#*=}" ;; esac
    done
}

act() {
    case $1 in
    poweroff) report poweroff; poweroff -f ;;
    reboot) report reboot; reboot -f ;;
    crash) report crash; echo c >/proc/sysrq-trigger ;;
    esac
}

# Modules, each after those that it depends on.
while read -r module; do
    insmod "/modules/$module"
done </modules/order

ip link set lo up
hostname guest
report up "kernel=$(uname -r)"

if [ "$(setting button)" != off ]; then
    for event in /sys/class/input/event*; do
        [ "$(cat "$event/device/name" 2>/dev/null)" = "Power Button" ] || continue
        # One input event is 24 bytes; this device has no other event than the button's.
        ( dd if="/dev/input/${event##*/}" of=/dev/null bs=24 count=1 2>/dev/null && report power-button && poweroff -f ) &
    done
fi

# What a test has added.
[ -x /more ] && /more &

act "$(setting now)"

# Commands from the console, one a line.
(
    while read -r command; do
        output=$(eval "$command" 2>&1)
        status=$?
        [ -n "$output" ] && echo "$output"
        report command "status=$status"
    done
) </dev/ttyS0 &

# After the first lease.
(
    until [ -e /run/lease ]; do sleep 0.05; done
    for target in $(setting ping | tr , ' '); do
        [ "$target" = router ] && target=$(cat /run/router)
        result=failed
        for attempt in 1 2 3 4 5; do
            if ping -c 1 -W 1 "$target" >/dev/null 2>&1; then result=ok; break; fi
        done
        report ping "target=$target result=$result"
    done
    act "$(setting then)"
) &

# Hot-plugged and unplugged interfaces.
known=" lo "
while :; do
    for path in /sys/class/net/*; do
        nic=${path##*/}
        case $known in *" $nic "*) continue ;; esac
        known="$known$nic "
        report nic "interface=$nic mac=$(cat "$path/address") mtu=$(cat "$path/mtu")"
        ip link set "$nic" up
        udhcpc -i "$nic" -f -t 20 -T 1 -A 2 -s /dhcp \
            -O subnet -O router -O dns -O hostname -O domain -O mtu -O broadcast -O ntpsrv -O search -O staticroutes \
            >/dev/null 2>&1 &
        echo $! >"/run/udhcpc.$nic"
    done
    for nic in $known; do
        [ -e "/sys/class/net/$nic" ] && continue
        report nic-gone "interface=$nic"
        kill "$(cat "/run/udhcpc.$nic")"
        known=" $(echo "$known" | tr ' ' '\n' | grep -vx "$nic" | tr '\n' ' ')"
    done
    sleep 0.1
done
