"""The pod's network as the DHCP server's configuration. Pure."""
