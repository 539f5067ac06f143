"""Requests to the kernel: rtnetlink, tap devices, namespaces."""
