"""Lower bound for a server in Python: `python -I -S floor.py IFACE CLIENT-MAC CLIENT-ADDRESS SERVER-ADDRESS`.

Answers every frame with one prepared OFFER, in which only the transaction id is replaced. Not a DHCP server, but the
reference for one in Python. With a single argument it only opens the socket and prints CLOCK_MONOTONIC in nanoseconds:
the time that Python takes to start.
"""

import sys
from _socket import AF_PACKET, SOCK_RAW, inet_aton, socket

ETH_P_IP = 0x0800
SOL_PACKET = 263
PACKET_IGNORE_OUTGOING = 23
XID = slice(46, 50)


def open_port(interface: str) -> socket:
    """Open a packet socket that receives incoming IPv4 only."""
    port = socket(AF_PACKET, SOCK_RAW, 0)
    port.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    port.bind((interface, ETH_P_IP))
    return port


def offer(server_mac: bytes, client_mac: bytes, client: bytes, server: bytes) -> bytearray:
    """An OFFER in its frame, without a UDP checksum."""
    options = b"\x35\x01\x02\x36\x04" + server + b"\x33\x04\x00\x01\x51\x80\x01\x04\xff\xff\xff\x00\xff"
    message = (
        b"\x02\x01\x06\x00" + bytes(12) + client + bytes(8) + client_mac + bytes(202) + b"\x63\x82\x53\x63" + options
    )
    message = message.ljust(300, b"\0")
    udp = bytes((0, 67, 0, 68)) + (len(message) + 8).to_bytes(2, "big") + b"\0\0"
    header = b"\x45\x00" + (len(message) + 28).to_bytes(2, "big") + b"\0\0\0\0\x40\x11\0\0" + server + client
    checksum = -int.from_bytes(header, "big") % 0xFFFF
    header = header[:10] + checksum.to_bytes(2, "big") + header[12:]
    return bytearray(client_mac + server_mac + b"\x08\x00" + header + udp + message)


def serve(port: socket, answer: bytearray) -> None:
    """Answer every frame; never returns."""
    request = bytearray(2048)
    receive, send = port.recv_into, port.send
    while True:
        receive(request)
        answer[XID] = request[XID]
        send(answer)


if len(sys.argv) == 2:
    held = open_port(sys.argv[1])
    from time import CLOCK_MONOTONIC, clock_gettime_ns

    print(clock_gettime_ns(CLOCK_MONOTONIC), flush=True)
    # the exit of the process closes the socket, which takes a while and is not measured
else:
    opened = open_port(sys.argv[1])
    client_mac = bytes.fromhex(sys.argv[2].replace(":", ""))
    serve(opened, offer(opened.getsockname()[4], client_mac, inet_aton(sys.argv[3]), inet_aton(sys.argv[4])))
