"""`python -m dhcp --interface IFACE --config FILE`: the server alone. See `dhcp.daemon.args`.

`dhcp.process` runs this by its path, isolated from everything but the standard library.
"""

import gc
import sys

gc.disable()  # nothing of what is made here is garbage
if not __package__:
    sys.path.append(__file__.rpartition("/")[0].rpartition("/")[0] or "/")

from dhcp import __path__ as folders  # noqa: E402
from dhcp.lean.importer import install  # noqa: E402

install("dhcp", folders[0])

from dhcp.daemon.args import main  # noqa: E402

sys.path_importer_cache.clear()  # lists of all files of the standard library
gc.freeze()
gc.enable()
sys.exit(main(sys.argv[1:]))
