"""For network tests, of other projects too: pods of a CNI's shape in namespaces, real DHCP clients, a pytest plugin.

The plugin (`launcher.testing.plugin`) has them as fixtures; docs/pytest.md shows how. Needs root and iproute2.
"""
