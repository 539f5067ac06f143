"""Decoded JSON → a frozen class, checked by the types of its fields: for what is read back from a file. Pure.

msgspec does the same, but takes 19 ms to import and to look at the classes, before the first record.
"""

from __future__ import annotations

from types import GenericAlias, UnionType
from typing import TYPE_CHECKING

from dhcp.lean.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    _T = TypeVar("_T")
    _Decoder = Callable[[Any], Any]


class Mismatch(ValueError):
    """A value that its type does not allow; `path` leads there, as in ``.networks.default.mtu``."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(f"{path.removeprefix('.')}: {reason}" if path else reason)
        self.reason = reason
        self.path = path

    def below(self, step: str) -> Mismatch:
        return Mismatch(self.reason, f"{step}{self.path}")


def decode(kind: type[_T], value: object) -> _T:
    """`value`, as JSON has it, as a `kind`.

    That is a Frozen class, str, int, bool, or of these a tuple, a dict by str, or a union with None; the annotations
    must be types and not text. Keys that are no field are ignored, as those of a later program. Raises Mismatch.
    """
    result: _T = _decoder_of(kind)(value)
    return result


_decoders: dict[object, _Decoder] = {}


def _decoder_of(kind: Any) -> _Decoder:
    found = _decoders.get(kind)
    if found is None:
        found = _decoders[kind] = _make_decoder(kind)
    return found


def _make_decoder(kind: Any) -> _Decoder:
    if isinstance(kind, UnionType):
        return _optional(*(one for one in kind.__args__ if one is not type(None)))
    if isinstance(kind, GenericAlias):
        if kind.__origin__ is dict:
            return _dict_of(kind.__args__[1])
        return _list_of(kind.__args__[0]) if kind.__args__[-1] is ... else _tuple_of(kind.__args__)
    return _fields_of(kind) if issubclass(kind, Frozen) else _exactly(kind)


def _exactly(kind: type) -> _Decoder:
    def decode_plain(value: Any) -> Any:
        if type(value) is not kind:
            raise Mismatch(f"is not {kind.__name__} but {type(value).__name__}")
        return value

    return decode_plain


def _optional(kind: Any) -> _Decoder:
    one = _decoder_of(kind)
    return lambda value: None if value is None else one(value)


def _dict_of(kind: Any) -> _Decoder:
    one, whole = _decoder_of(kind), _exactly(dict)
    return lambda value: {name: _at(f".{name}", one, item) for name, item in whole(value).items()}


def _listed(value: Any) -> Any:
    if type(value) not in (list, tuple):
        raise Mismatch(f"is not list but {type(value).__name__}")
    return value


def _list_of(kind: Any) -> _Decoder:
    one, whole = _decoder_of(kind), _listed
    return lambda value: tuple([_at(f"[{index}]", one, item) for index, item in enumerate(whole(value))])


def _tuple_of(kinds: tuple[Any, ...]) -> _Decoder:
    each, whole = [_decoder_of(kind) for kind in kinds], _listed

    def decode_tuple(value: Any) -> Any:
        if len(whole(value)) != len(each):
            raise Mismatch(f"has {len(value)} elements, not {len(each)}")
        return tuple([_at(f"[{index}]", one, value[index]) for index, one in enumerate(each)])

    return decode_tuple


def _at(step: str, one: _Decoder, value: Any) -> Any:
    try:
        return one(value)
    except Mismatch as mismatch:
        raise mismatch.below(step) from None


def _fields_of(kind: type) -> _Decoder:
    annotations = kind.__annotations__.items()
    fields = {name: (plain if plain in (str, int) else None, _decoder_of(plain)) for name, plain in annotations}
    whole = _exactly(dict)

    def decode_fields(value: Any) -> Any:
        found = {}
        for name, item in whole(value).items():
            if name in fields:
                plain, one = fields[name]
                found[name] = item if type(item) is plain else _at(f".{name}", one, item)
        try:
            return kind(**found)
        except TypeError as error:  # a field without a default is missing
            raise Mismatch(str(error)) from None

    return decode_fields
