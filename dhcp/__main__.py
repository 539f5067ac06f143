"""`python -m dhcp --interface IFACE --config FILE`: the server alone. See `dhcp.daemon.args`.

`dhcp.process` runs this by its path, isolated from everything but the standard library.
"""

import sys

if not __package__:  # this file is compiled at each start, so it is short
    sys.path.append(__file__.rpartition("/")[0].rpartition("/")[0] or "/")
from dhcp.daemon.start import main

sys.exit(main(sys.argv[1:]))
