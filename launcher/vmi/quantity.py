"""Parses Kubernetes quantities: `128Mi`, `1.5G`, `500m`, `1e9`."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

from launcher.vmi.errors import ManifestError

_QUANTITY = re.compile(r"(?P<number>\d+(?:\.\d*)?|\.\d+)(?:[eE](?P<exponent>[-+]?\d{1,2})|(?P<suffix>\w*))")

_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal("1e3"),
    "M": Decimal("1e6"),
    "G": Decimal("1e9"),
    "T": Decimal("1e12"),
    "P": Decimal("1e15"),
    "E": Decimal("1e18"),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


def parse_quantity(text: str | int | float) -> int:
    """The quantity in whole units, rounded up as Kubernetes rounds. Raises ValueError.

    A sign is refused: no resource of a VM is negative.
    """
    match = _QUANTITY.fullmatch(str(text))
    if match is None or (match["suffix"] or "") not in _SUFFIXES:
        raise ValueError(f"`{text}` is not a quantity such as 128Mi, 1G or 1500m")
    scale = Decimal(10) ** int(match["exponent"]) if match["exponent"] else _SUFFIXES[match["suffix"] or ""]
    return int((Decimal(match["number"]) * scale).to_integral_value(ROUND_CEILING))


def quantity_at(path: str, value: str | int | float) -> int:
    """The quantity of the field at `path`. Raises ManifestError."""
    try:
        return parse_quantity(value)
    except ValueError as error:
        raise ManifestError(path, str(error)) from None
