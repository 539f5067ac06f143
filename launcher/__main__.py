"""`python -m launcher` is `virt-launcher`."""

from launcher.cli import command

command()
