"""What the tests of faults have in common."""

from __future__ import annotations

import pytest
from lab.waiting import PATIENCE

from netsetup.kernel import gateway_mac


@pytest.fixture
def gateways_are_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The set-up depends on whether the gateway answered in time, which on a busy machine it does not always."""
    monkeypatch.setattr(gateway_mac, "RESOLVE_SECONDS", PATIENCE)
