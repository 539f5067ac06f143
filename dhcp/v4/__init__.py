"""What is answered over IPv4: DHCP (RFC 2131) and ARP. Pure."""
