"""An HTTP server for scrapes: `http.server` around a socket that listens already, with the client library's answers."""

from __future__ import annotations

import logging
import socket
import sys
from http.server import HTTPServer

from prometheus_client import MetricsHandler

from launcher.sight.exposition import PodCollector, registry_of

log = logging.getLogger("launcher")


class MetricsServer(HTTPServer):
    """One request after another; one that takes too long is given up."""

    def __init__(self, listener: socket.socket, collector: PodCollector, request_seconds: float) -> None:
        handler = type("Handler", (MetricsHandler,), {"registry": registry_of(collector), "timeout": request_seconds})
        super().__init__(("", 0), handler, bind_and_activate=False)
        self.socket.close()  # of its own making
        self.socket = listener

    def handle_error(self, request: object, client_address: object) -> None:
        """A scrape that failed: its client has gone, or was too slow."""
        log.debug("metrics: %s", sys.exception())
