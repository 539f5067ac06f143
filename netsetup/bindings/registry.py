"""Bindings by name: those of this package, and those that other packages register.

Others register in the entry-point group ``virt_launcher.bindings`` (Python Packaging User Guide, Entry points), each
with its module as the value. The package's own are registered there, too, but found without reading the metadata of
every installed package, which takes longer than the hook.
"""

from importlib import import_module
from typing import Final, cast

from dhcp.lean.frozen import replace
from netsetup.bindings.binding import Binding
from netsetup.errors import InvalidRequest
from netsetup.model.kernel import Namespace
from netsetup.model.pod_interface import Resolver
from netsetup.model.request import NetworkRequest

GROUP: Final = "virt_launcher.bindings"
BUILT_IN: Final = {name: f"netsetup.bindings.{name}" for name in ("bridge", "masquerade", "fwd")}

MEMBERS: Final = tuple(name for name in vars(Binding) if not name.startswith("_"))
"""What the module of a binding has."""


class UnknownBinding(InvalidRequest):
    """No binding of that name is registered."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no binding {name!r}; there are: {', '.join(binding_names())}")


def binding_of(name: str) -> Binding:
    """The binding of this name. Raises UnknownBinding, and InvalidRequest for one that does not load or is none."""
    module = BUILT_IN.get(name)
    if module is not None:
        return cast(Binding, import_module(module))
    from importlib.metadata import entry_points

    for entry in entry_points(group=GROUP, name=name):
        try:
            loaded = entry.load()
        except Exception as error:  # whatever goes wrong in somebody else's module
            raise InvalidRequest(f"binding {name!r}: {entry.value} does not load: {error}") from None
        lacking = [member for member in MEMBERS if not hasattr(loaded, member)]
        if lacking:
            raise InvalidRequest(f"binding {name!r}: {entry.value} is none, it lacks {', '.join(lacking)}")
        return cast(Binding, loaded)
    raise UnknownBinding(name)


def binding_names() -> list[str]:
    """The names of all bindings, the package's own first."""
    from importlib.metadata import entry_points

    return list(dict.fromkeys([*BUILT_IN, *sorted(entry_points(group=GROUP).names)]))


def names_that_admit(observed: Namespace, request: NetworkRequest, resolver: Resolver) -> list[str]:
    """The names of all bindings that would do what this request asks another one for, in alphabetical order.

    One with a network of the VM's own is for the pod network alone.
    """
    return [
        name
        for name in sorted(binding_names())
        if name != request.binding and _admits(name, observed, replace(request, binding=name), resolver)
    ]


def _admits(name: str, observed: Namespace, request: NetworkRequest, resolver: Resolver) -> bool:
    try:
        binding = binding_of(name)
        if binding.is_private and not request.is_pod_network:
            return False
        binding.admit(observed, request, resolver)
    except Exception:  # whatever goes wrong in somebody else's module, it is not to be recommended
        return False
    return True
