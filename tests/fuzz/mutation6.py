"""Mutations of IPv6 frames: DHCPv6 with options in options, and neighbour discovery. See `mutation`."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

IPV6_AT, PAYLOAD_AT, MESSAGE_AT = 14, 54, 62
UDP, ICMP6 = 17, 58
TELLING = (1, 2, 3, 4, 5, 6, 7, 8, 13, 14, 19, 23, 24, 25, 26, 32, 39, 82, 83)
KINDS = (1, 1, 3, 3, 4, 5, 6, 8, 9, 11, 11, 2, 7, 12, 0, 255)
NESTED = {3: 12, 4: 4, 25: 12, 5: 24}
"""Options that hold options, with what stands before them."""
Mutate = Callable[[bytes, int], bytes]
Options = list[tuple[int, bytes]]


class Mutator6:
    """Turns an IPv6 frame into a similar one; `values` are addresses and identifiers that it is given at times."""

    def __init__(self, values: list[bytes], mutate: Mutate) -> None:
        self._values = values
        self._mutate = mutate

    def __call__(self, frame: bytes, limit: int, chance: random.Random) -> bytes:
        if chance.random() < 0.15:
            at, size = chance.choice(((0, 12), (14, 8), (22, 16), (38, 16)))
            value = self._mutate(frame[at : at + size], size)
            if size == 16 and chance.random() < 0.6:
                value = chance.choice([value for value in self._values if len(value) == 16])
            frame = frame[:at] + value[:size].ljust(size, b"\0") + frame[at + size :]
        elif frame[20] == UDP:
            options = self._changed(decoded(frame[MESSAGE_AT + 4 :]), chance, 0)
            kind = bytes((chance.choice(KINDS),)) if chance.random() < 0.2 else frame[MESSAGE_AT : MESSAGE_AT + 1]
            frame = frame[:MESSAGE_AT] + kind + frame[MESSAGE_AT + 1 : MESSAGE_AT + 4] + encoded(options, chance)
        elif chance.random() < 0.3:
            target = chance.choice([value for value in self._values if len(value) == 16])
            frame = frame[:MESSAGE_AT] + target + frame[MESSAGE_AT + 16 :]
        else:
            frame = frame[:PAYLOAD_AT] + self._mutate(frame[PAYLOAD_AT:], 200)
        return enclosed(frame[:limit], chance)

    def _changed(self, options: Options, chance: random.Random, depth: int) -> Options:
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            at = chance.randrange(len(options) + 1)
            what = chance.random()
            if at == len(options) or what < 0.25:
                code = chance.choice(TELLING)
                options.insert(at, (code, self._value(chance)))
            elif what < 0.4:
                del options[at]
            elif what < 0.5:
                options.insert(chance.randrange(len(options) + 1), options[at])
            elif what < 0.6:
                options[at] = (chance.choice(TELLING), options[at][1])
            elif (head := NESTED.get(options[at][0])) and depth < 2:
                code, value = options[at]
                inner = self._changed(decoded(value[head:]), chance, depth + 1)
                options[at] = (code, value[:head] + encoded(inner, chance))
            else:
                options[at] = (options[at][0], self._mutate(options[at][1], 255))
        return options

    def _value(self, chance: random.Random) -> bytes:
        if chance.random() < 0.6:
            return chance.choice(self._values) + chance.randbytes(chance.choice((0, 0, 8)))
        return chance.randbytes(chance.choice((0, 1, 2, 4, 12, 16, 24, 60)))


def decoded(field: bytes) -> Options:
    """The options of a field as far as they can be told apart."""
    options, at = [], 0
    while at + 4 <= len(field):
        code, length = struct.unpack_from("!HH", field, at)
        options.append((code, field[at + 4 : at + 4 + length]))
        at += 4 + length
    return options


def encoded(options: Options, chance: random.Random) -> bytes:
    """The field again, at times with a length that lies."""
    parts = [struct.pack("!HH", code, len(value)) + value for code, value in options]
    if parts and chance.random() < 0.05:
        at = chance.randrange(len(parts))
        parts[at] = parts[at][:2] + struct.pack("!H", chance.randrange(300)) + parts[at][4:]
    return b"".join(parts)


def enclosed(frame: bytes, chance: random.Random) -> bytes:
    """The frame with lengths, and for ICMPv6 a checksum, that fit it, nearly always."""
    if len(frame) < MESSAGE_AT or chance.random() < 0.02:
        return frame
    length = struct.pack("!H", len(frame) - PAYLOAD_AT)
    frame = frame[:18] + length + frame[20:]
    if frame[20] == UDP:
        return frame[:58] + length + frame[60:]
    payload = frame[54:56] + bytes(2) + frame[58:]
    octets = frame[22:54] + struct.pack("!II", len(payload), ICMP6) + payload + b"\0" * (len(payload) & 1)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return frame[:56] + (~total & 0xFFFF).to_bytes(2) + frame[58:]
