"""MAC addresses of guests and of devices that we make. Pure."""

import binascii
import re
from typing import Final

LIBVIRT_TAP_OCTET: Final = "fe"
"""libvirt gives a tap its guest's MAC with this first octet: a guest that has it would share its MAC with its tap."""

_FORMS = re.compile(
    r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}|[0-9a-f]{2}(?:-[0-9a-f]{2}){5}|[0-9a-f]{4}(?:\.[0-9a-f]{4}){2}",
    re.IGNORECASE,
)


def parse_guest_mac(text: str, reserved: str = "") -> str:
    """The MAC in lower case with colons, from any of the usual spellings.

    Raises ValueError, whose message goes after the name of a field, for one that no guest can have, and for the one
    that its binding has `reserved`.
    """
    if not _FORMS.fullmatch(text):
        raise ValueError("must be six bytes such as 02:00:00:00:00:01")
    digits = re.sub(r"[:.-]", "", text.lower())
    mac = ":".join(digits[i : i + 2] for i in range(0, 12, 2))
    if int(mac[:2], 16) & 1:
        raise ValueError(f"must not be a multicast address, is {mac}")
    if mac == "00:00:00:00:00:00":
        raise ValueError("must not be all zero")
    if is_tap_mac(mac):
        raise ValueError(f"must not begin with {LIBVIRT_TAP_OCTET}, which libvirt keeps for its own taps, is {mac}")
    if mac == reserved:
        raise ValueError(f"must not be {mac}, which is the bridge's own")
    return mac


def is_tap_mac(text: str) -> bool:
    """Whether this is a MAC that libvirt gives to a tap."""
    return text.lower().startswith(LIBVIRT_TAP_OCTET)


def is_host_mac(mac: str) -> bool:
    """Whether this is the MAC of one Ethernet interface: six octets, no group's, and not all zero."""
    return len(mac) == 17 and not int(mac[:2], 16) & 1 and mac != "00:00:00:00:00:00"


def local_mac(name: str) -> str:
    """A locally administered unicast MAC that is always the same for one name."""
    seed = name.encode(errors="surrogatepass")
    # Checksums always differ for inputs that differ little, and loading OpenSSL for a hash would take 3 ms.
    octets = bytearray(binascii.crc_hqx(seed, 0).to_bytes(2, "big") + binascii.crc32(seed).to_bytes(4, "big"))
    octets[0] = octets[0] & 0xFC | 0x02
    return octets.hex(":")
