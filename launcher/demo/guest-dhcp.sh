#!/bin/sh
# udhcpc's script, called on every change of a lease: configures the interface, then reports the result on the console.

list() { echo "$*" | tr ' ' ','; }

case $1 in
deconfig)
    ip address flush dev "$interface" scope global
    ;;
bound | renew)
    [ -n "$mtu" ] && ip link set "$interface" mtu "$mtu"
    if ! ip -4 -o address show dev "$interface" | grep -qF " $ip/${mask:-32} "; then
        # Not on every renewal: removing the address would also remove the routes and break connections.
        ip address flush dev "$interface" scope global
        ip address add "$ip/${mask:-32}" broadcast "${broadcast:-+}" dev "$interface"
    fi
    if [ -n "$staticroutes" ]; then
        # RFC 3442: with classless routes the router option is ignored; a router of 0.0.0.0 means on-link.
        set -- $staticroutes
        while [ $# -ge 2 ]; do
            if [ "$2" = 0.0.0.0 ]; then
                ip route replace "$1" dev "$interface"
            else
                ip route replace "$1" via "$2" dev "$interface" || ip route replace "$1" via "$2" dev "$interface" onlink
            fi
            shift 2
        done
    else
        for gateway in $router; do
            ip route get "$gateway" >/dev/null 2>&1 || ip route add "$gateway" dev "$interface"
            ip route replace default via "$gateway" dev "$interface" && break
        done
    fi
    : >/etc/resolv.conf
    [ -n "$search$domain" ] && echo "search ${search:-$domain}" >>/etc/resolv.conf
    for server in $dns; do echo "nameserver $server" >>/etc/resolv.conf; done
    [ -n "$hostname" ] && hostname "$hostname"

    via=$(ip route show default dev "$interface" | sed -n 's/.*via \([^ ]*\).*/\1/p;q')
    address=$(ip -o -4 address show dev "$interface" | sed -n 's/.*inet \([^ ]*\) .*/\1/p;q')
    routes=$(ip route show dev "$interface" | sed 's/ *$//' | tr '\n' ';')
    read -r uptime _ </proc/uptime
    echo "guest: lease uptime=$uptime interface=$interface address=${address:-$ip} router=$via" \
        "mtu=$(cat "/sys/class/net/$interface/mtu") dns=$(list $dns) search=$(list $search) domain=$domain" \
        "hostname=$hostname broadcast=$broadcast ntp=$(list $ntpsrv) seconds=$lease server=$serverid" \
        "routes='${routes%;}'" >/dev/ttyS0
    echo "$via" >/run/router
    : >/run/lease
    ;;
nak | leasefail)
    read -r uptime _ </proc/uptime
    echo "guest: $1 uptime=$uptime interface=$interface message='$message'" >/dev/ttyS0
    ;;
esac
