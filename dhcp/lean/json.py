"""JSON through the interpreter's own scanner and encoder: importing `json` takes longer than all of the server."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from json import dumps, loads
else:
    try:
        from _json import encode_basestring_ascii, make_encoder, make_scanner
    except ImportError:  # an interpreter without the accelerator
        from json import dumps, loads
    else:
        _WHITESPACE = " \t\n\r"

        class _Strict:
            """What `json.JSONDecoder` hands to the scanner."""

            strict = True
            object_hook = None
            object_pairs_hook = None
            parse_float = float
            parse_int = int

            @staticmethod
            def parse_constant(name):
                raise ValueError(f"{name} is not JSON")

        def _refuse(value):
            raise TypeError(f"{value!r} has no JSON")

        _scan = make_scanner(_Strict)

        def loads(text):
            """The value of one JSON text; raises ValueError."""
            if isinstance(text, bytes):
                text = text.decode()
            start = len(text) - len(text.lstrip(_WHITESPACE))
            try:
                value, end = _scan(text, start)
            except RecursionError:
                raise ValueError("JSON nested too deeply") from None
            except (StopIteration, SystemError):
                # The scanner needs the json module to raise what is wrong.
                try:
                    from json import loads as explain
                except ImportError:  # the server's user has no access to it
                    raise ValueError("not JSON") from None
                return explain(text)
            if text[end:].strip(_WHITESPACE):
                raise ValueError(f"more than one JSON value (character {end})")
            return value

        def dumps(value, *, default=_refuse):
            """One line of JSON; `default` gives something else for what has none, or raises TypeError or ValueError."""
            encode = make_encoder(None, default, encode_basestring_ascii, None, ": ", ", ", False, False, False)
            return "".join(encode(value, 0))


__all__ = ["dumps", "loads"]
