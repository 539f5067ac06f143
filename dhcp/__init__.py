"""The single-client DHCP server. Standard library only; it imports no other package."""
