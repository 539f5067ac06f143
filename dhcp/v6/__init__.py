"""What is answered over IPv6: DHCPv6 (RFC 8415), router and neighbour discovery (RFC 4861). Pure."""
