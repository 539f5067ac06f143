"""YAML texts as the Kubernetes tools read them."""

from __future__ import annotations

import contextlib
import re

import yaml

from launcher.manifest.limits import MOST_KEYS


class _Constructor(yaml.constructor.SafeConstructor):
    """YAML as the Kubernetes tools read it.

    A MAC address such as 52:54:00:12:34:56 is a number to base 60 and a date is an object in YAML 1.1; here
    both are text. A key given twice is an error.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen = set()
        for key, _ in node.value:
            # The key `<<` may be repeated: it merges what aliases point to.
            if key.tag != "tag:yaml.org,2002:merge" and isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"`{key.value}` is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merges (`<<`), each of which multiplies the keys."""
        super().flatten_mapping(node)
        if len(node.value) > MOST_KEYS:
            raise yaml.constructor.ConstructorError(None, None, f"more than {MOST_KEYS} keys", node.start_mark)


class _Loader(_Constructor, yaml.SafeLoader):
    """PyYAML's own parser, whose error messages are reported."""


class _FastLoader(_Constructor, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """libyaml's parser, where PyYAML was built with it: a tenth of the time."""


LIBYAML_DEPTH = 3000
"""Levels of nesting; libyaml has no limit of its own, and 20,000 overflow the stack."""

_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]*|0x[0-9a-fA-F]+|0o?[0-7]+)$")
_FRACTION = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$")
_RETYPED = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")

for _loader in (_Loader, _FastLoader):
    _loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _RETYPED]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _loader.add_implicit_resolver("tag:yaml.org,2002:int", _DECIMAL, list("-+0123456789"))
    _loader.add_implicit_resolver("tag:yaml.org,2002:float", _FRACTION, list("-+.0123456789"))


def parse_yaml(text: str) -> list[object]:
    """The documents of a YAML text that are not empty. Raises ValueError, and RecursionError."""
    try:
        return _documents(text)
    except yaml.YAMLError as error:
        raise ValueError(_yaml_reason(error)) from None


def _documents(text: str) -> list[object]:
    """The documents of a YAML text; raises what PyYAML's own parser raises."""
    if _depth_limit(text) <= LIBYAML_DEPTH:
        with contextlib.suppress(yaml.YAMLError, ValueError):
            return _load(text, _FastLoader)
    return _load(text, _Loader)


def _load(text: str, loader: type[_Loader | _FastLoader]) -> list[object]:
    return [document for document in yaml.load_all(text, loader) if document is not None]


def _depth_limit(text: str) -> int:
    """An upper bound of the levels of nesting: each takes a bracket or a column; a list may share its parent's."""
    longest = max((len(line) for line in text.splitlines()), default=0)
    return text.count("[") + text.count("{") + 2 * longest


def _yaml_reason(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem or error.context}"
    return " ".join(str(error).split())
