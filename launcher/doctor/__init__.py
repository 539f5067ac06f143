"""Looks at each hop between the VM and its node."""
