"""Real DHCP clients of `launcher.testing`, and those for IPv6 (`lab.clients.ipv6`)."""

from launcher.testing.clients import CLIENTS, Client, Dhclient, Dhcpcd, Networkd, NetworkManager, Observed, Udhcpc

__all__ = ["CLIENTS", "Client", "Dhclient", "Dhcpcd", "NetworkManager", "Networkd", "Observed", "Udhcpc"]
