"""Mutations that know what a frame is made of, so that most of what they make gets past the first checks."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from mutation6 import Mutator6

IPV4_AT, UDP_AT, BOOTP_AT, OPTIONS_AT = 14, 34, 42, 282
LARGEST_FRAME = 1514
# Numbers that some rule is about, and their neighbours.
TELLING = (0, 12, 43, 50, 51, 52, 53, 54, 55, 57, 60, 61, 77, 80, 81, 82, 108, 116, 118, 119, 121, 175, 249, 255)
FIELDS = {  # fixed fields that decide, by offset in the frame
    "destination": (30, 4),
    "source": (26, 4),
    "op, htype, hlen": (42, 3),
    "xid": (46, 4),
    "flags": (52, 2),
    "ciaddr": (54, 4),
    "giaddr": (66, 4),
    "chaddr": (70, 6),
    "sname": (86, 64),
    "file": (150, 128),
    "cookie": (278, 4),
}
Mutate = Callable[[bytes, int], bytes]


class Mutator:
    """Turns a frame into a similar one. `addresses` are values that IPv4 fields and options are given at times,
    `values6` those that IPv6 ones are; `mutate` is the fuzzer's own mutation of octets."""

    def __init__(self, addresses: list[bytes], values6: list[bytes], mutate: Mutate) -> None:
        self._addresses = addresses
        self._mutate = mutate
        self._mutate6 = Mutator6(values6, mutate)

    def __call__(self, data: bytes, max_size: int, seed: int) -> bytes:
        """One mutation, the same for the same seed; at most `max_size` octets."""
        chance = random.Random(seed)
        limit = min(max_size, LARGEST_FRAME)
        if data[12:14] == b"\x86\xdd" and len(data) >= 66 and chance.random() > 0.1:
            return self._mutate6(data, limit, chance)
        if len(data) < OPTIONS_AT or chance.random() < 0.1:
            return self._mutate(data, limit)
        frame = self._mutate_field(data, chance) if chance.random() < 0.3 else self._mutate_options(data, chance)
        return enclosed(frame[:limit], chance)

    def _mutate_field(self, frame: bytes, chance: random.Random) -> bytes:
        at, size = chance.choice(list(FIELDS.values()))
        value = frame[at : at + size]
        if size == 4 and chance.random() < 0.6:
            value = chance.choice(self._addresses)
        elif size > 6 and chance.random() < 0.7:  # a field that option 52 may open: put options there
            value = encoded(self._changed(decoded(value), chance), chance)
        else:
            value = self._mutate(value, size)
        return frame[:at] + value[:size].ljust(size, b"\0") + frame[at + size :]

    def _mutate_options(self, frame: bytes, chance: random.Random) -> bytes:
        if chance.random() < 0.15:
            return frame[:OPTIONS_AT] + self._mutate(frame[OPTIONS_AT:], LARGEST_FRAME - OPTIONS_AT)
        return frame[:OPTIONS_AT] + encoded(self._changed(decoded(frame[OPTIONS_AT:]), chance), chance)

    def _changed(self, options: list[tuple[int, bytes]], chance: random.Random) -> list[tuple[int, bytes]]:
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            at = chance.randrange(len(options) + 1)
            what = chance.random()
            if what < 0.4 or at == len(options):
                options.insert(at, self._option(chance))
            elif what < 0.55:
                del options[at]
            elif what < 0.65:
                options.insert(chance.randrange(len(options) + 1), options[at])
            elif what < 0.75:
                options[at] = (chance.choice(TELLING), options[at][1])
            else:
                code, value = options[at]
                options[at] = (code, self._mutate(value, 255)[:255])
        return options

    def _option(self, chance: random.Random) -> tuple[int, bytes]:
        code = chance.choice(TELLING) if chance.random() < 0.8 else chance.randrange(256)
        if code == 53:
            return code, bytes((chance.randrange(20),))
        if code in (50, 54, 118):
            return code, chance.choice(self._addresses)
        if code == 52:
            return code, bytes((chance.randrange(4),))
        if code == 57:
            return code, struct.pack("!H", chance.choice((0, 575, 576, 577, 1000, 1472, 65535)))
        return code, chance.randbytes(chance.choice((0, 1, 2, 3, 4, 7, 20, 255)))


def decoded(field: bytes) -> list[tuple[int, bytes]]:
    """The options of a field as far as they can be told apart."""
    options, at = [], 0
    while at + 1 < len(field) and field[at] != 255:
        if field[at] == 0:
            at += 1
            continue
        options.append((field[at], field[at + 2 : at + 2 + field[at + 1]]))
        at += 2 + field[at + 1]
    return options


def encoded(options: list[tuple[int, bytes]], chance: random.Random) -> bytes:
    """The field again, at times without END, with a length that lies, or with padding in between."""
    parts = [bytes((code, len(value))) + value for code, value in options]
    if parts and chance.random() < 0.05:
        at = chance.randrange(len(parts))
        parts[at] = parts[at][:1] + bytes((chance.randrange(256),)) + parts[at][2:]
    return (b"\0" if chance.random() < 0.05 else b"").join(parts) + (b"" if chance.random() < 0.05 else b"\xff")


def enclosed(frame: bytes, chance: random.Random) -> bytes:
    """The frame with IPv4 and UDP lengths that fit it, nearly always."""
    if len(frame) < BOOTP_AT or chance.random() < 0.02:
        return frame
    total, length = struct.pack("!H", len(frame) - IPV4_AT), struct.pack("!H", len(frame) - UDP_AT)
    return frame[:16] + total + frame[18:38] + length + frame[40:]
