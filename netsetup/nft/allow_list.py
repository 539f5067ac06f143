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

    further4: tuple[str, ...] = ()
    """Addresses and networks that the guest may send from besides its own."""
    further6: tuple[str, ...] = ()
    further_macs: tuple[str, ...] = ()
    """Likewise MACs, those of virtual routers."""

    @property
    def macs(self) -> tuple[str, ...]:
        """The MACs that the guest may send from."""
        return (self.mac, *self.further_macs)

    @property
    def any_mac(self) -> str:
        """They as nft(8) compares with one or several."""
        return f"{{ {', '.join(self.macs)} }}" if self.further_macs else self.mac

    @property
    def addressed(self) -> bool:
        """Whether the guest has addresses that we know; on a layer-2-only network it may have any."""
        return bool(self.addresses4 or self.addresses6)

    def drop(self, match: str, label: str) -> str:
        """The rule that drops and counts what matches; everything, without a match."""
        return f"{match} counter name {self.guest_port}-{label} drop".strip()

    def drop_source(self, match: str, label: str) -> str:
        """Likewise, and counts it by its source, too."""
        return f"{match} goto {self.dropping(label)}".strip()

    def dropping(self, label: str) -> str:
        """The chain that does that."""
        return f"{self.guest_port}-drop-{label}"
