"""Search lists: domain names as labels, compressed (option 119) or not (DHCPv6, router advertisements). Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def encode_search_list(names: Sequence[str]) -> bytes:
    """The value of option 119: RFC 1035 names, common tails as pointers to earlier octets (RFC 3397 §2)."""
    value = b""
    offsets: dict[str, int] = {}
    for name in names:
        rest = name
        while rest:
            if rest.lower() in offsets:
                value += (0xC000 | offsets[rest.lower()]).to_bytes(2, "big")
                break
            if len(value) < 0x4000:
                offsets[rest.lower()] = len(value)
            label, _, rest = rest.partition(".")
            value += bytes((len(label),)) + label.encode()
        else:
            value += b"\0"
    return value


def split_search_list(value: bytes) -> list[bytes]:
    """The value of option 119 in parts of at most 255 octets; clients join them, but for systemd-networkd.

    That one takes the last part that is a list of names by itself. So the first part ends with a name, and each other
    begins or ends within a label, where a letter stands that is no length: then it is no list.
    """
    ends, letters = [], []
    at = 0
    while at < len(value):
        length = value[at]
        if length == 0 or length >= 0xC0:  # the end of a name, or a pointer to the rest of it (RFC 1035 §4.1.4)
            at += 2 if length else 1
            ends.append(at)
        else:
            letters += [place for place in range(at + 2, at + 1 + length) if 0x40 <= value[place] < 0xC0]
            at += 1 + length
    cuts = [0, max(end for end in ends if end <= 255)]
    while len(cuts) == 2 or len(value) - cuts[-1] > 255:
        within = [place for place in letters if cuts[-1] < place <= cuts[-1] + 255]
        cuts.append(within[-1] if within else min(cuts[-1] + 255, len(value)))
    return [value[begin:end] for begin, end in zip(cuts, [*cuts[1:], len(value)], strict=True) if begin < end]


def encode_names(names: Sequence[str]) -> bytes:
    """Domain names one after the other, uncompressed (RFC 8415 §10, RFC 8106 §5.2)."""
    return b"".join(
        b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0" for name in names
    )


def encode_first_names(names: Sequence[str], room: int) -> bytes:
    """As many of the names as `room` octets hold. Each is encoded once: a list may be long, and a guest ask often."""
    encoded = b""
    for name in names:
        one = encode_names((name,))
        if len(encoded) + len(one) > room:
            break
        encoded += one
    return encoded
