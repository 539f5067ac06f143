"""Whole plans of pods as data, written out: what is recorded, the tables, set-up, what is changed meanwhile, and back.

`pytest tests/unit/test_whole_plans.py --update-snapshots` writes `tests/plans` anew; the difference is to be read
before it is committed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.scenes import SCENES, Scene
from lab.simulated import carry_out

from netsetup.bindings.registry import binding_of
from netsetup.model.identity import as_named_now
from netsetup.model.kernel import PROTO_KERNEL, Link, Namespace, Route
from netsetup.model.settings import settings_now
from netsetup.model.vm_network import VMNetwork
from netsetup.plan import (
    Plan,
    admit,
    converge,
    interfaces_of,
    is_untouched,
    other_sysctls,
    plan_setup,
    plan_teardown,
    wanted_tables,
)
from netsetup.steps import AddAddress, AddNeighbour, AddRoute, AddRule, CreateTap, LoadTable

PLANS = Path(__file__).parent.parent / "plans"
COPY = "record " * 40
ROUNDS = 8

Settings = tuple[tuple[str, str], ...]


def networks_of(scene: Scene) -> list[VMNetwork]:
    return [admit(scene.before, request, scene.resolver) for request in scene.requests]


def torn_down(
    observed: Namespace, networks: list[VMNetwork], settings: Settings, plans: list[Plan] | None = None
) -> Namespace:
    """What is left after teardown, in as many rounds as it takes."""
    for _ in range(ROUNDS):
        plan = plan_teardown(observed, networks, settings)
        if not plan:
            return observed
        if plans is not None:
            plans.append(plan)
        observed = carry_out(observed, plan.steps)
    raise AssertionError(f"not done after {ROUNDS} rounds: {plan.lines()}")


def state(observed: Namespace) -> list[str]:
    """What has to be the same, as text.

    The order of settings is not, and of routes only that of equal ones, if the kernel has not made them itself.
    """
    addresses = sorted(observed.addresses, key=lambda entry: (entry[0], entry[1].family))
    return [
        *map(brief, observed.links),
        *(f"{index} {brief(found.key)}" for index, found in addresses),
        *(brief(route.key) for route in sorted(observed.routes, key=place)),
        *sorted(f"{index} {brief(found)}" for index, found in observed.neighbours),
        *map(brief, observed.rules),
        *map(brief, observed.forwarding_entries),
        *(f"{key}={value}" for key, value in sorted(observed.sysctls)),
        *(f"{family} {digest}" for family, digest in sorted(observed.tables)),
    ]


def place(route: Route) -> tuple[Any, ...]:
    return (*route.place, route.interface if route.proto == PROTO_KERNEL else 0)


@pytest.mark.parametrize("name", SCENES)
def test_written_out(name: str, pytestconfig: pytest.Config) -> None:
    text = "\n".join(story(SCENES[name])) + "\n"
    file = PLANS / f"{name}.txt"
    if pytestconfig.getoption("--update-snapshots"):
        file.write_text(text)
    assert text.splitlines() == file.read_text().splitlines()


def test_no_plan_is_left_over() -> None:
    assert sorted(path.stem for path in PLANS.glob("*.txt")) == sorted(SCENES)


@pytest.mark.parametrize("name", SCENES)
def test_from_every_step_it_leads_on_and_back(name: str) -> None:
    """Killed after any step of the set-up, the next one comes to the same end, and teardown to the beginning."""
    scene = SCENES[name]
    networks = networks_of(scene)
    settings = other_sysctls(scene.before, networks)
    steps = plan_setup(scene.before, networks).steps
    whole = carry_out(scene.before, steps)
    for done in range(len(steps) + 1):
        observed = carry_out(scene.before, steps[:done])
        assert is_untouched(observed, networks[0]) or done, "nothing was done"
        rest = carry_out(observed, plan_setup(observed, networks).steps)
        assert state(rest) == state(whole), f"{steps[done - 1]} was the last"
        assert state(torn_down(observed, networks, settings)) == state(scene.before), f"{steps[done - 1]} was the last"


@pytest.mark.parametrize("name", SCENES)
def test_from_every_step_back_it_leads_on(name: str) -> None:
    """Killed after any step of the teardown, the next one comes to the same end; so does a set-up."""
    scene = SCENES[name]
    networks = networks_of(scene)
    settings = other_sysctls(scene.before, networks)
    observed = carry_out(scene.before, plan_setup(scene.before, networks).steps)
    whole, beginning = state(observed), state(scene.before)
    for _ in range(ROUNDS):
        steps = plan_teardown(observed, networks, settings).steps
        for done in range(len(steps)):
            half = carry_out(observed, steps[:done])
            assert state(torn_down(half, networks, settings)) == beginning, f"{steps[:done][-1:]} was the last"
        observed = carry_out(observed, steps)
    again = carry_out(observed, plan_setup(observed, networks).steps)
    assert state(again) == whole


def story(scene: Scene) -> Iterator[str]:
    networks = networks_of(scene)
    settings = other_sysctls(scene.before, networks)
    indexes = interfaces_of(scene.before, settings)
    yield scene.about
    yield from section("Recorded", *[line for network in networks for line in written(network)])
    yield from section("Settings of others", *[f"{key}={value}" for key, value in settings])
    yield from section("Tables", *wanted_tables(networks, COPY).values())
    yield from section("Counters", *[c.what for n in networks for c in binding_of(n.binding).rules(n).counters])
    for network in networks:
        binding = binding_of(network.binding)
        yield from section("Path", *binding.path(network), *written(binding.hops(network)))
        yield from section("libvirt", *written(binding.interface_element(network)))
    observed = scene.before
    plan = plan_setup(observed, networks, COPY)
    yield from section("Set-up", *explained(plan))
    observed = carry_out(observed, plan.steps)
    assert not plan_setup(observed, networks, COPY), "all is done"
    for event, change in scene.events.items():
        observed = change(observed)
        networks = [as_named_now(observed.links, network) for network in networks]
        settings, indexes = settings_now(observed.links, settings, indexes)
        changed = [
            converge(observed, network, request, scene.resolver)
            for network, request in zip(networks, scene.requests, strict=True)
        ]
        plan = plan_setup(observed, changed, COPY)
        yield from section(f"Meanwhile: {event}", *differences(networks, changed), *explained(plan))
        networks, observed = changed, carry_out(observed, plan.steps)
        assert not plan_setup(observed, networks, COPY), "all is done"
        unchanged = [
            converge(observed, network, request, scene.resolver)
            for network, request in zip(networks, scene.requests, strict=True)
        ]
        assert unchanged == networks, "what is taken in is taken in once"
    plans: list[Plan] = []
    after = torn_down(observed, networks, settings, plans)
    for number, plan in enumerate(plans, 1):
        yield from section(f"Back, round {number}", *explained(plan))
    assert state(after) == state(scene.after(scene.before))


def section(title: str, *lines: str) -> Iterator[str]:
    yield ""
    yield title
    yield from (f"  {line}" for text in lines for line in text.splitlines())


def explained(plan: Plan) -> Iterator[str]:
    for step, line in zip(plan.steps, plan.lines(), strict=True):
        match step:
            case AddAddress(address=item) | AddRoute(route=item) | AddNeighbour(neighbour=item) | AddRule(rule=item):
                yield f"{line}  [{brief(item)}]"
            case CreateTap():
                yield f"{line}  [{brief(step)}]"
            case LoadTable() if step.replace:
                yield f"{line}  [replaces {' '.join(step.replace)}]"
            case _:
                yield line


def differences(before: list[VMNetwork], after: list[VMNetwork]) -> Iterator[str]:
    for old, new in zip(before, after, strict=True):
        known = list(written(old))
        now = list(written(new))
        yield from (f"- {line}" for line in known if line not in now)
        yield from (f"+ {line}" for line in now if line not in known)


def fields(item: Any) -> Iterator[tuple[str, Any]]:
    """The fields that have another value than their default."""
    for description in dataclasses.fields(item):
        value = getattr(item, description.name)
        if value != description.default:
            yield description.name, value


def brief(item: Any) -> str:
    if isinstance(item, tuple):
        return f"({', '.join(map(brief, item))})"
    if not dataclasses.is_dataclass(item):
        return str(item)
    return " ".join(f"{name}={brief(value)}" for name, value in fields(item))


def written(item: Any, prefix: str = "") -> Iterator[str]:
    """A field a line, of a tuple an element a line."""
    for name, value in fields(item):
        if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            yield from (f"{prefix}{name}: {brief(element)}" for element in value)
        elif dataclasses.is_dataclass(value) and not isinstance(value, Link):
            yield from written(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}: {brief(value)}"
