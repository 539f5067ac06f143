"""What both hook and server need, and nothing of DHCP: small stand-ins for modules that take long to import."""
