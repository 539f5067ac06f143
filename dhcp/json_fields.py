"""Fields of decoded JSON objects, checked, with errors that name the field by its path. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import TypeVar

    _T = TypeVar("_T")

_LATEST = 2**40  # seconds of a clock: some 35,000 years


class ConfigError(ValueError):
    """A configuration that cannot be served; the message starts with the path of the field."""


class Fields:
    """The fields of one JSON object; those that nothing has read are unknown.

    A field whose value is null counts as absent. `parse` functions raise ValueError with the reason, to which
    the path is added.
    """

    def __init__(self, data: dict[object, object], path: str) -> None:
        self._data = data
        self._path = path
        self._taken: set[object] = set()

    def error(self, name: str, reason: str) -> ConfigError:
        return ConfigError(f"{self._path}{name}: {reason}")

    def given(self, name: str) -> bool:
        return self._data.get(name) is not None

    def any_given(self, names: Collection[str]) -> bool:
        """Whether one of these fields is given; counts them all as read."""
        self._taken.update(names)
        return any(self.given(name) for name in names)

    def required(self, name: str, parse: Callable[[str], _T]) -> _T:
        if not self.given(name):
            raise self.error(name, "is required")
        return self._parse(name, parse)

    def optional(self, name: str, parse: Callable[[str], _T], default: _T) -> _T:
        self._taken.add(name)
        return self._parse(name, parse) if self.given(name) else default

    def _parse(self, name: str, parse: Callable[[str], _T]) -> _T:
        self._taken.add(name)
        try:
            return parse(text_of(self._data[name]))
        except ValueError as error:
            raise self.error(name, str(error)) from None

    def integer(self, name: str, smallest: int, largest: int, default: int) -> int:
        self._taken.add(name)
        value = self._data.get(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(name, "must be an integer")
        if not smallest <= value <= largest:
            raise self.error(name, f"{value} is not in {smallest} to {largest}")
        return value

    def boot_time(self, name: str) -> int:
        """A time by CLOCK_BOOTTIME in seconds; 0 for none."""
        return self.integer(name, 1, _LATEST, 0)

    def boolean(self, name: str) -> bool:
        self._taken.add(name)
        value = self._data.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.error(name, "must be true or false")
        return bool(value)

    def texts(self, name: str, parse: Callable[[str], _T]) -> list[_T]:
        """A list of strings."""
        parsed: list[_T] = []
        for index, item in enumerate(self._list(name)):
            try:
                parsed.append(parse(text_of(item)))
            except ValueError as error:
                raise self.error(f"{name}[{index}]", str(error)) from None
        return parsed

    def objects(self, name: str, parse: Callable[[Fields], _T]) -> list[_T]:
        """A list of objects."""
        parsed: list[_T] = []
        for index, item in enumerate(self._list(name)):
            if not isinstance(item, dict):
                raise self.error(f"{name}[{index}]", "must be an object")
            fields = Fields(item, f"{self._path}{name}[{index}].")
            parsed.append(parse(fields))
            fields.refuse_unknown()
        return parsed

    def _list(self, name: str) -> list[object]:
        self._taken.add(name)
        value = self._data.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.error(name, "must be a list")
        return value

    def pairs(self, name: str, parse: Callable[[str, object], _T]) -> list[_T]:
        """The keys and values of an object."""
        self._taken.add(name)
        value = self._data.get(name)
        if value is None:
            return []
        if not isinstance(value, dict):
            raise self.error(name, "must be an object")
        parsed: list[_T] = []
        for key, item in value.items():
            try:
                parsed.append(parse(text_of(key), item))
            except ValueError as error:
                raise self.error(f"{name}.{key}", str(error)) from None
        return parsed

    def numbered(self, name: str, parse: Callable[[int, str], bytes]) -> list[tuple[int, bytes]]:
        """The keys and values of an object of options by their decimal number."""

        def parse_pair(number: str, value: object) -> tuple[int, bytes]:
            if not (number.isascii() and number.isdigit()) or number != str(int(number)):
                raise ValueError("options are named by their decimal number")
            return int(number), parse(int(number), text_of(value))

        return self.pairs(name, parse_pair)

    def refuse_unknown(self) -> None:
        for name in self._data:
            if name not in self._taken:
                raise self.error(str(name), "unknown field")


def text_of(value: object) -> str:
    """The value if it is a string; raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value
