"""Frozen dataclasses without `dataclasses`, which takes 13 ms to import and half a millisecond to make each class."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import Field
    from typing import Any, ClassVar, TypeVar, dataclass_transform

    _T = TypeVar("_T", bound="Frozen")

    @dataclass_transform(frozen_default=True)
    class Frozen:
        """Type checkers see frozen dataclasses."""

        __slots__ = ()
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def replace(item: _T, **changes: object) -> _T: ...

    def as_dict(item: Frozen) -> dict[str, Any]: ...

else:
    from _operator import attrgetter

    class _FrozenType(type):
        """Makes the annotated fields of a class, in order, its slots; a value given there is the field's default."""

        def __new__(meta, name, bases, body):
            fields = tuple(body.get("__annotations__", ()))
            defaults = {field: body.pop(field) for field in fields if field in body}
            values = attrgetter(*fields) if len(fields) > 1 else _few_values
            body |= {"__slots__": fields, "__match_args__": fields, "_defaults": defaults, "_values": values}
            return super().__new__(meta, name, bases, body)

    def _few_values(item):
        return tuple([getattr(item, name) for name in item.__slots__])

    class _DataclassFields:
        """`__dataclass_fields__`, by which `dataclasses` and msgspec recognise a dataclass; made on first access."""

        def __get__(self, item, owner):
            from dataclasses import dataclass

            if owner is Frozen:
                return {}
            fields = {"__annotations__": owner.__annotations__, "__module__": owner.__module__, **owner._defaults}
            owner.__dataclass_fields__ = dataclass(type(owner.__name__, (), fields)).__dataclass_fields__
            return owner.__dataclass_fields__

    class Frozen(metaclass=_FrozenType):
        """Base of classes that are their annotated fields: gives them `__init__`, `==`, `hash` and `repr`.

        Raises TypeError for a missing, an unknown or a doubled argument, AttributeError on assignment. There are no
        fields of a class that is inherited from. `dataclasses` and msgspec take it for a dataclass.
        """

        __dataclass_fields__ = _DataclassFields()

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
            return type(self)._values(self) == type(self)._values(other)

        def __hash__(self):
            return hash(type(self)._values(self))

        def __reduce__(self):
            return type(self), tuple(as_dict(self).values())

        def __repr__(self):
            return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in as_dict(self).items())})"

    def replace(item, **changes):
        """A copy with some of its fields changed."""
        return type(item)(**as_dict(item) | changes)

    def as_dict(item):
        """The fields by their names; what they hold stays as it is."""
        return {name: getattr(item, name) for name in item.__slots__}
