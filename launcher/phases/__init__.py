"""A pod's set-up in parts, each of which a container with fewer rights can take: network, server, domain."""
