"""What may pass between one guest port and its network: the data that the rules are made of. Pure."""

from dhcp.lean.frozen import Frozen


class AllowList(Frozen):
    """Which frames may pass between one guest port and its network."""

    guest_port: str
    mac: str
    isolated: bool
    """Whether the guest may send with its own addresses alone."""
    serves4: bool
    """Whether we serve DHCPv4 on the guest port: then none of it crosses."""
    serves6: bool
    """Whether we serve DHCPv6 there: then neither it nor router solicitations and advertisements cross."""
    addresses4: tuple[str, ...] = ()
    addresses6: tuple[str, ...] = ()
    others6: tuple[str, ...] = ()
    """Link-local addresses that are known to be another's: the routers', the neighbours'."""

    @property
    def addressed(self) -> bool:
        """Whether the guest has addresses that we know; on a layer-2-only network it may have any."""
        return bool(self.addresses4 or self.addresses6)

    def drop(self, match: str, label: str) -> str:
        """The rule that drops and counts what matches; everything, without a match."""
        return f"{match} counter name {self.guest_port}-{label} drop".strip()
