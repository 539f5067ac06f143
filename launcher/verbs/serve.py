"""`serve`: the DHCP server of a pod that is set up, in the foreground."""

from __future__ import annotations

import argparse
import contextlib
import functools
from typing import TYPE_CHECKING

from launcher.verbs.namespace import enter
from launcher.verbs.parsers import add_manifest, add_network_status
from launcher.verbs.tools.metrics import ADDRESS_HELP

if TYPE_CHECKING:
    from launcher.verbs.parsers import Parsers

WAIT_SECONDS = 60.0


def add(to: Parsers) -> None:
    verb = to.add_verb(
        "serve", run, to.pod, to.changes, help="serve what `prestart --phase network` has set up, until SIGTERM"
    )
    verb.add_argument(
        "--wait",
        metavar="SECONDS",
        type=float,
        default=WAIT_SECONDS,
        help=f"how long to wait for the set-up (default: {WAIT_SECONDS:g})",
    )
    verb.add_argument(
        "--keep-admin",
        action="store_true",
        help="keep CAP_NET_ADMIN, and take in what changes in the pod",
    )
    verb.set_defaults(logs_time=True)
    verb.add_argument("--metrics", metavar="ADDRESS", help=f"serve metrics for Prometheus: {ADDRESS_HELP}")
    add_manifest(verb, "what `prestart` without one has set up")
    add_network_status(verb)


def run(options: argparse.Namespace) -> int:
    import signal

    from launcher.container.init import supervise
    from launcher.exit_codes import exit_code_of

    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))  # until they are awaited
    return supervise(lambda: exit_code_of(lambda: _serve(options)), keeps_capabilities=False)


def _serve(options: argparse.Namespace) -> int:
    resolver_path = enter(options.netns)
    from launcher.phases.keeper import keep_serving
    from netsetup.kernel.netns import require_own_namespace, state_directory

    require_own_namespace(options.host_network)
    folder = state_directory(options.state_dir)

    news = None
    if options.keep_admin:
        from launcher.phases.news import News

        news = News(
            folder,
            options.vmi,
            options.name,
            resolver_path,
            network_status=options.network_status,
            host_network=options.host_network,
        )

    with contextlib.ExitStack() as held:
        then = None
        if options.metrics is not None:
            from launcher.sight.endpoint import listening
            from launcher.sight.exposition import PodCollector

            endpoint = held.enter_context(listening(options.metrics))
            then = functools.partial(endpoint.serve, PodCollector(folder))
        return keep_serving(
            folder,
            wait_seconds=options.wait,
            log_format=options.log_format,
            news=news,
            then=then,
        )
