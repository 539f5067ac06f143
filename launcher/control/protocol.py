"""The protocol of `launcher.sock`: one JSON object a line each way, in turns. Pure.

A request names itself in `request`; the other fields are its own. An answer has `ok`, and with `false` what went wrong
in `error`, one line, and its `exit_code`. Both have the `version` of the protocol.
"""

from __future__ import annotations

from typing import Any, Final

from dhcp.lean.json import dumps, loads

SOCKET: Final = "launcher.sock"
"""The socket's name in the state directory, or in the phase `domain`'s folder below it."""
VERSION: Final = 1
LONGEST_LINE: Final = 1 << 20
"""Octets of a request or an answer, with its newline."""
BUSY: Final = "the launcher has too many clients at once; try again"
"""The error for a client that is to try again."""

Object = dict[str, Any]


class BadRequest(ValueError):
    """A request that the launcher does not understand, or not take; nothing was changed."""

    exit_code = 2


class BadAnswer(ValueError):
    """What was received is no answer of this protocol."""


def request_line(name: str, fields: Object) -> bytes:
    """Raises BadRequest for one that is too long, or has no JSON."""
    try:
        line = dumps({"version": VERSION, "request": name, **fields}).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise BadRequest(f"{name}: has no JSON: {error}") from None
    if len(line) > LONGEST_LINE:
        raise BadRequest(f"{name}: {len(line)} octets are more than a launcher takes ({LONGEST_LINE})")
    return line


def parse_request(line: bytes) -> tuple[str, Object]:
    """The request's name, and the object. Raises BadRequest."""
    try:
        found = loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("request"), str):
        raise BadRequest('must be one JSON object a line, as in {"version": 1, "request": "networks"}')
    version = found.get("version", VERSION)
    if type(version) is not int or version != VERSION:
        raise BadRequest(f"version must be {VERSION}, which this launcher has: use the program of its own release")
    return found["request"], found


def answer_line(result: Object) -> bytes:
    return dumps({"version": VERSION, "ok": True, **result}).encode() + b"\n"


def error_line(message: str, exit_code: int) -> bytes:
    return dumps({"version": VERSION, "ok": False, "error": message, "exit_code": exit_code}).encode() + b"\n"


def parse_answer(line: bytes) -> Object:
    """Raises BadAnswer, also for the answer of a launcher with another version of the protocol."""
    try:
        found = loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BadAnswer("its answer is not JSON: another program listens there")
    if found.get("version") != VERSION:
        raise BadAnswer(
            f"the launcher has version {found.get('version')} of the protocol, and this program {VERSION}: "
            "use the one of its own release"
        )
    if not isinstance(found.get("ok"), bool):
        raise BadAnswer("its answer has no `ok`: another program listens there")
    return found
