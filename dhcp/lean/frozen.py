"""Frozen dataclasses without `dataclasses`, whose import alone takes longer than the server's whole start may."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar, dataclass_transform

    _T = TypeVar("_T")

    @dataclass_transform(frozen_default=True)
    class Frozen:
        """Type checkers see frozen dataclasses."""

    def replace(item: _T, **changes: object) -> _T: ...

else:

    class _FrozenType(type):
        """Makes the annotated fields of a class, in order, its slots; a value given there is the field's default."""

        def __new__(meta, name, bases, body):
            fields = tuple(body.get("__annotations__", ()))
            defaults = {field: body.pop(field) for field in fields if field in body}
            return super().__new__(meta, name, bases, {**body, "__slots__": fields, "_defaults": defaults})

    class Frozen(metaclass=_FrozenType):
        """Base of classes that are their annotated fields: gives them `__init__`, `==`, `hash` and `repr`.

        Raises TypeError for a missing, an unknown or a doubled argument, AttributeError on assignment.
        """

        def __init__(self, *args, **named):
            fields, values = self.__slots__, {**self._defaults, **named}
            if args:
                if len(args) > len(fields) or not named.keys().isdisjoint(fields[: len(args)]):
                    raise TypeError(f"{type(self).__name__}: a field is given twice, or there is none for a value")
                values.update(zip(fields, args, strict=False))
            put = object.__setattr__
            try:
                for name, value in values.items():
                    put(self, name, value)
            except AttributeError:
                raise TypeError(f"{type(self).__name__}: unexpected {name}") from None
            if len(values) < len(fields):
                raise TypeError(f"{type(self).__name__}: missing {', '.join(set(fields) - values.keys())}")

        def __setattr__(self, name, value=None):
            raise AttributeError(f"{type(self).__name__}.{name} is read-only")

        __delattr__ = __setattr__

        def __eq__(self, other):
            if type(other) is not type(self):
                return NotImplemented
            return _values(self) == _values(other)

        def __hash__(self):
            return hash(_values(self))

        def __repr__(self):
            fields = zip(self.__slots__, _values(self), strict=True)
            return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in fields)})"

    def _values(item):
        return tuple([getattr(item, name) for name in item.__slots__])

    def replace(item, **changes):
        """A copy with some of its fields changed."""
        return type(item)(**{**dict(zip(item.__slots__, _values(item), strict=True)), **changes})
