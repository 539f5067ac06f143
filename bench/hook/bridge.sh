#!/bin/sh
# The hook's set-up as a shell script: iproute2 for the links, nft for the isolation, dnsmasq for DHCP.
# It keeps no record, cannot be undone, and supports one interface with one IPv4 address only.
#
#   bridge.sh STATE-DIRECTORY [--fence]
#
# Without --fence, DHCP passes between guest and node, and the node receives the bridge's frames.
set -eu
state=$1 fence=${2:-}

address=''
while read -r first second rest; do
    case $first in
    [0-9]*:) mtu=${rest#*mtu } mtu=${mtu%% *} ;;
    link/ether) mac=$second ;;
    inet) address=${address:-$second} ;;
    esac
done <<END
$(ip address show dev eth0)
END

# Option 121 has the default route too: a client that reads it ignores option 3 (RFC 3442).
router='' routes=''
while read -r destination via gateway _; do
    [ "$via" = via ] || continue
    [ "$destination" = default ] && router=$gateway destination=0.0.0.0/0
    routes=$routes,$destination,$gateway
done <<END
$(ip -4 route show dev eth0)
END

servers='' search=''
while read -r word rest; do
    case $word in
    nameserver) servers=$servers,$rest ;;
    search) for name in $rest; do search=$search,$name; done ;;
    esac
done </etc/resolv.conf

ip -batch - <<END
link add k6t-eth0 mtu $mtu type bridge stp_state 0 forward_delay 0 mcast_snooping 0
address flush dev eth0
link set eth0 address 02:${mac#*:}
link set eth0 master k6t-eth0
link set eth0 type bridge_slave learning off
link set tap0 mtu $mtu master k6t-eth0
link set tap0 up
link set k6t-eth0 up
address add 169.254.75.10/32 dev k6t-eth0
END

[ -z "$fence" ] || nft -f - <<END
table bridge guest {
    chain forward { type filter hook forward priority 0; udp dport { 67, 68 } drop; }
    chain input { type filter hook input priority 0; iifname != "tap0" drop; }
    chain output { type filter hook output priority 0; oifname != "tap0" drop; }
}
END

network=${address%.*}.0 # of a /24
exec dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --bind-interfaces --no-ping --quiet-dhcp \
    --interface=k6t-eth0 --except-interface=lo --user=root --group=root --log-facility=- \
    --pid-file="$state/dnsmasq.pid" --dhcp-leasefile="$state/dnsmasq.leases" --dhcp-authoritative \
    --shared-network=k6t-eth0,"$network" --dhcp-range="$network,static,255.255.255.0,24h" \
    --dhcp-host="$mac,${address%/*},24h" --dhcp-option=option:router,"$router" \
    --dhcp-option=option:classless-static-route"$routes" --dhcp-option=option:mtu,"$mtu" \
    --dhcp-option=option:dns-server"$servers" --dhcp-option=option:domain-search"$search"
