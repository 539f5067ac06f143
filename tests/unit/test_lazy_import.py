"""pyroute2 without what its message classes have no use for, and whole for everybody else in the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def printed(program: str) -> list[str]:
    command = [sys.executable, "-c", f"import netsetup.kernel.rtnl_messages, sys\n{program}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def test_the_message_classes_bring_little_along() -> None:
    assert {"asyncio", "multiprocessing", "platform"}.isdisjoint(printed("print(*sys.modules)"))


def test_others_find_the_package_whole() -> None:
    program = (
        "from pyroute2 import IPRoute, config\n"
        "import pyroute2.netlink.rtnl.ifinfmsg as links\n"
        "print(IPRoute.__name__, len(config.uname), config.data_plugins_pkgs, links.config is config)"
    )
    assert printed(program) == ["IPRoute", "6", "[]", "True"]


def test_what_others_have_set_stays() -> None:
    program = (
        "from pyroute2 import config\n"
        "config.cache_expire = 7\n"
        "print(config.gc_timeout, config.cache_expire, config.AF_BRIDGE)"
    )
    assert printed(program) == ["60", "7", "7"]


def test_a_module_is_loaded_when_it_is_used() -> None:
    program = (
        "from netsetup.kernel.lazy_import import make_lazy\n"
        "sys.modules.pop('traceback', None)\n"
        "make_lazy('traceback')\n"
        "import traceback\n"
        "print('format_exc' in traceback.__dict__, traceback.format_exc.__name__, 'format_exc' in traceback.__dict__)"
    )
    assert printed(program) == ["False", "format_exc", "True"]
