"""Network namespaces for tests: `launcher.testing` has them, for tests of other projects too."""

from launcher.testing.namespace import (
    CONFIGURATION_DIRECTORY,
    NETNS_DIRECTORY,
    PREFIX,
    CommandError,
    Namespace,
    sweep,
)

__all__ = ["CONFIGURATION_DIRECTORY", "NETNS_DIRECTORY", "PREFIX", "CommandError", "Namespace", "sweep"]
