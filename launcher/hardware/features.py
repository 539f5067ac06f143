"""Admission of `features`: what of a machine's features is on, and the enlightenments for Windows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from launcher.hardware.model import Features, HypervFeature
from launcher.vmi.checks import check_match
from launcher.vmi.errors import ManifestError

if TYPE_CHECKING:
    from launcher.hardware.schema import FeaturesSource, Hyperv, Switch

DEFAULT_RETRIES = 8191
"""Of spinlocks: KubeVirt's choice, and what Microsoft recommends."""
LEAST_RETRIES = 4095

_PATH = "spec.domain.features"
# Printable ASCII, of which a comma ends QEMU's argument.
_VENDOR = re.compile(r"[ -+\--~]{1,12}")
_REQUIRES = {
    "stimer": ("synic", "vpindex"),
    "synic": ("vpindex",),
    "ipi": ("vpindex",),
    "tlbflush": ("vpindex",),
    "evmcs": ("vapic",),
}
"""Enlightenments that others need; as KubeVirt does, they are switched on with those."""


def admit_features(wanted: FeaturesSource) -> Features:
    """Check `features` of a manifest's domain. Raises ManifestError."""
    apic = wanted.apic
    passthrough = _is_on(wanted.hyperv_passthrough) is True
    if passthrough and wanted.hyperv is not None:
        raise ManifestError(f"{_PATH}.hypervPassthrough", "must not be given together with hyperv: leave out one")
    return Features(
        apic=apic is not None and apic.enabled is not False,
        end_of_interrupt=apic.end_of_interrupt if apic else None,
        smm=_is_on(wanted.smm),
        kvm_hidden=wanted.kvm.hidden if wanted.kvm else None,
        pvspinlock=_is_on(wanted.pvspinlock),
        hyperv=_enlightenments(wanted.hyperv) if wanted.hyperv is not None else (),
        hyperv_passthrough=passthrough,
    )


def _is_on(switch: Switch | None) -> bool | None:
    return None if switch is None else switch.enabled is not False


def _enlightenments(wanted: Hyperv) -> tuple[HypervFeature, ...]:
    """Those that are on, by libvirt's names, with those that they need."""
    switches = {
        "relaxed": wanted.relaxed,
        "vapic": wanted.vapic,
        "spinlocks": wanted.spinlocks,
        "vpindex": wanted.vpindex,
        "runtime": wanted.runtime,
        "synic": wanted.synic,
        "stimer": wanted.synictimer,
        "reset": wanted.reset,
        "vendor_id": wanted.vendorid,
        "frequencies": wanted.frequencies,
        "reenlightenment": wanted.reenlightenment,
        "tlbflush": wanted.tlbflush,
        "ipi": wanted.ipi,
        "evmcs": wanted.evmcs,
    }
    on = {name for name, switch in switches.items() if switch is not None and switch.enabled is not False}
    on |= {needed for name in on for needed in _REQUIRES.get(name, ())}
    return tuple(_enlightenment(name, wanted) for name in switches if name in on)


def _enlightenment(name: str, wanted: Hyperv) -> HypervFeature:
    if name == "spinlocks" and wanted.spinlocks is not None:
        retries = DEFAULT_RETRIES if wanted.spinlocks.spinlocks is None else wanted.spinlocks.spinlocks
        if not LEAST_RETRIES <= retries < 1 << 32:
            raise ManifestError(
                f"{_PATH}.hyperv.spinlocks.spinlocks", f"must be at least {LEAST_RETRIES}, is {retries}"
            )
        return HypervFeature(name, (("retries", str(retries)),))
    if name == "vendor_id" and wanted.vendorid is not None:
        vendor = wanted.vendorid.vendorid or ""
        check_match(f"{_PATH}.hyperv.vendorid.vendorid", vendor, _VENDOR, "must be 1 to 12 characters, no comma")
        return HypervFeature(name, (("value", vendor),))
    if name == "stimer" and wanted.synictimer is not None and _is_on(wanted.synictimer.direct):
        return HypervFeature(name, within=("direct",))
    return HypervFeature(name)
