"""The single-client DHCP server. Standard library only; it imports nothing of its neighbours."""
