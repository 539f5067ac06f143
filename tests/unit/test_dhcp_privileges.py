"""The user and the group that a server becomes: nobody else's, and one that its user namespace has."""

from __future__ import annotations

import itertools

import pytest

from dhcp.daemon.privileges import free_id

MACHINE = b"         0          0 4294967295\n"
POD = b"         0     131072      65536\n"
PODMAN = b"         0       1000          1\n         1     100000      65536\n"
ALONE = b"         0       1000          1\n"
PASSWD = b"root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\n"


@pytest.mark.parametrize(
    ("id_map", "lowest", "highest"),
    [
        (MACHINE, 0x70000000, 0x7FFFFFFF),
        (POD, 61440, 65533),
        (PODMAN, 61441, 65536),
        (b"0 100000 1000\n", 1, 999),
        (b"0 1000 1\n5 7 2\n", 5, 6),
        (b"0 1000 1\n4294900000 7 100\n", 0, 0),
        (ALONE, 0, 0),
        (b"1000 1000 1\n", 0, 0),
        (b"", 0, 0),
    ],
    ids=["machine", "pod", "podman", "few", "two", "beyond", "alone", "own", "unreadable"],
)
def test_it_is_of_the_upper_end_of_what_is_mapped(id_map: bytes, lowest: int, highest: int) -> None:
    """0 is for none."""
    starts = (0, 1, 2, 3, 0x7FFFFFFF, 0xFFFFFFFF)
    found = {free_id(id_map, PASSWD, 1000, itertools.count(start).__next__) or 0 for start in starts}
    assert lowest <= min(found) <= max(found) <= highest


def test_one_that_is_taken_is_left() -> None:
    """65535 and 65534 are never taken, then comes its own, and an account's."""
    numbers = iter(range(100))
    accounts = PASSWD + b"other:x:65532:100::/:/bin/sh\n"
    assert free_id(POD, accounts, 65533, lambda: next(numbers)) == 65531
    assert free_id(POD, b"".join(b"a:x:%d:1::/:/\n" % n for n in range(65536)), 0, lambda: next(numbers)) is None
