"""Manifests in which values are exchanged, missing and moved at random: each is taken or refused, and nothing fails."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.manifest.objects import Machine, machines
from launcher.manifest.reader import read_documents
from launcher.vmi.errors import ManifestError
from launcher.vmi.load import check_vmi, load_request

CORPUS = [read_documents(path) for path in sorted((Path(__file__).parents[1] / "manifests").glob("*.yaml"))]
VALUES: list[Any] = [None, 0, -1, 1.5, 10**30, True, False, "", "x", "a.b", "128Mi", [], {}, [1], [None], [[]], ["x"]]
VALUES += [{"a": 1}, {"name": "x"}, {"name": None}, {"enabled": False}, {"spec": {}}]
NAMES = ("name", "spec", "kind", "unknown", "domain", "enabled")
TRIES = 60


def places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key, inner in enumerate(value) if isinstance(value, list) else getattr(value, "items", tuple)():
        yield from places(inner, (*path, key))


def mutated(documents: list[object], chance: random.Random) -> Any:
    documents = copy.deepcopy(documents)
    for _ in range(chance.randint(1, 3)):
        *parents, last = chance.choice(list(places(documents)))
        here: Any = documents
        for key in parents:
            here = here[key]
        value = copy.deepcopy(chance.choice(VALUES))
        what = chance.choice(("exchange", "exchange", "remove", "rename"))
        if what == "exchange":
            here[last] = value
        elif what == "remove":
            del here[last]
        elif isinstance(here, dict):
            here[chance.choice(NAMES)] = here.pop(last)
    return documents


@pytest.mark.parametrize("seed", range(3))
def test_a_mutated_manifest_is_taken_or_refused(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    refusals: list[ManifestError] = []
    taken = 0
    for _ in range(TRIES):
        documents = mutated(chance.choice(CORPUS), chance)
        (tmp_path / "vm.json").write_text(json.dumps({"kind": "List", "items": documents}))
        found: list[Machine] = []
        try:
            found = machines(documents, "file")
        except ManifestError as error:
            refusals.append(error)
        for machine in found:
            for action in (check_vmi, lambda machine: load_request(tmp_path / "vm.json", machine.names[1])):
                try:
                    taken += action(machine) is not None
                except ManifestError as error:
                    refusals.append(error)
    assert taken
    assert refusals
    for refusal in refusals:
        assert all(problem.remedy[1] for problem in refusal.problems)
        assert "\n" not in "".join(refusal.lines)
