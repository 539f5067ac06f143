"""Kubernetes quantities."""

from __future__ import annotations

import pytest

from launcher.vmi.quantity import parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("128Mi", 128 << 20),
        ("1.5Gi", 3 << 29),
        ("1G", 10**9),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("12E-1", 2),
        ("500m", 1),
        ("1001m", 2),
        (".5Ki", 512),
        ("1.", 1),
        (7, 7),
        (1.5, 2),
        ("0", 0),
    ],
)
def test_value(text: str | int | float, value: int) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text", ["", "Mi", "1 Mi", "1mi", "-1", "+1", "1e", "1ee3", "0x10", "1Mi\n", "inf", "nan", "1e999"]
)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)
