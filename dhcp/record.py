"""Immutable records without `dataclasses`, whose import alone takes longer than the server's whole start may."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar, dataclass_transform

    _T = TypeVar("_T")

    @dataclass_transform(frozen_default=True)
    def record(cls: type[_T]) -> type[_T]:
        """Type checkers see a frozen dataclass."""

    def replace(item: _T, **changes: object) -> _T: ...

else:

    def replace(item, **changes):
        """A record with some of its fields changed."""
        return type(item)(**{**{name: getattr(item, name) for name in item.__slots__}, **changes})

    def record(cls):
        """Turn annotated fields into a frozen, slotted class: `__init__`, `==`, `hash`, `repr`.

        The fields are the annotations in order, a class attribute of the same name is the default.
        Raises TypeError for a missing, an unknown or a doubled argument, AttributeError on assignment.
        """
        fields = tuple(cls.__annotations__)
        defaults = {name: cls.__dict__[name] for name in fields if name in cls.__dict__}
        put = object.__setattr__

        def __init__(self, *args, **named):  # noqa: N807
            if len(args) > len(fields):
                raise TypeError(f"{cls.__name__}: {len(args)} values for {len(fields)} fields")
            values = dict(zip(fields, args, strict=False))
            for name in named:
                if name not in fields or name in values:
                    raise TypeError(f"{cls.__name__}: unexpected {name}")
            values = {**defaults, **values, **named}
            for name in fields:
                if name not in values:
                    raise TypeError(f"{cls.__name__}: {name} is missing")
                put(self, name, values[name])

        def __setattr__(self, name, value=None):  # noqa: N807
            raise AttributeError(f"{cls.__name__}.{name} is read-only")

        def __eq__(self, other):  # noqa: N807
            if type(other) is not type(self):
                return NotImplemented
            return all(getattr(self, name) == getattr(other, name) for name in fields)

        def __hash__(self):  # noqa: N807
            return hash(tuple(getattr(self, name) for name in fields))

        def __repr__(self):  # noqa: N807
            return f"{cls.__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in fields)})"

        body = {k: v for k, v in cls.__dict__.items() if k not in (*fields, "__dict__", "__weakref__")}
        body.update(
            __slots__=fields,
            __init__=__init__,
            __setattr__=__setattr__,
            __delattr__=__setattr__,
            __eq__=__eq__,
            __hash__=__hash__,
            __repr__=__repr__,
        )
        return type(cls)(cls.__name__, cls.__bases__, body)
