"""Real DHCP clients, run in a guest's namespace as inside a VM: one class each, all with the same methods."""

from launcher.testing.clients.base import Client, Observed
from launcher.testing.clients.dhclient import Dhclient
from launcher.testing.clients.dhcpcd import Dhcpcd
from launcher.testing.clients.networkd import Networkd
from launcher.testing.clients.networkmanager import NetworkManager
from launcher.testing.clients.udhcpc import Udhcpc

CLIENTS: tuple[type[Client], ...] = (Udhcpc, Dhclient, Dhcpcd, Networkd, NetworkManager)

__all__ = ["CLIENTS", "Client", "Dhclient", "Dhcpcd", "NetworkManager", "Networkd", "Observed", "Udhcpc"]
