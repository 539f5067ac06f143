"""`python -m dhcp --interface IFACE --config FILE`: the server alone. See `dhcp.commandline`."""

import sys

if __package__ in (None, ""):  # started by path, isolated from everything but the standard library
    sys.path.append(__file__.rpartition("/dhcp/")[0] or "/")

from dhcp.commandline import main

sys.exit(main(sys.argv[1:]))
