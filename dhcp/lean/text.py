"""Kinds of text: what a field may hold, checked where it comes in, and how any text is shown. Pure.

- A *name* of a host or a domain is letters, digits, and within a label `-` and `_` (`fault_of_name`): host names,
  search lists, `dnsConfig.searches`. The container's host name and resolv.conf are not of our making: of theirs a name
  that is no such is left out and reported. A manifest's is refused.
- An *option text* is printable ASCII without blanks (`option_text`): the file and server names of DHCP options.
- An *interface name* is octets that the kernel takes (`interface_name`), and so is a *file name*: both are as
  `os.fsdecode` gives them, where an octet that is not UTF-8 is half of a surrogate pair. They go back to the kernel as
  they came. What is handed on to other programs must be plain (`is_plain`).
- All else is *plain*: UTF-8 without control characters (`is_plain`), in a manifest with tabs and ends of lines
  (`fault_of_lines`).

Whatever is shown goes through `printable`, a line of a log or an error, or `printable_lines`, a result.
"""

from __future__ import annotations

LABEL_MAX = 63
NAME_MAX = 253
INTERFACE_MAX = 15
"""IFNAMSIZ less its final NUL."""
OPTION_MAX = 255


def printable(text: str) -> str:
    """One line for a terminal: a control character, or half of a surrogate pair, is shown as ``\\x1b``."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def printable_lines(text: str) -> str:
    """Likewise a text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


def shortened(text: str, most: int = 2000) -> str:
    """The text without its middle, where it has more than `most` characters: of what somebody else has written."""
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-(most // 2) :]}"


def is_plain(text: str) -> bool:
    """Whether this is UTF-8 without control characters: no Cc, half a surrogate pair, or what XML has not."""
    return text.isprintable() or not any(map(_is_control, text))


def fault_of_lines(text: str) -> str:
    """What makes this no text of several lines; empty for a plain one, in which tabs and ends of lines may be too."""
    if text.isprintable():
        return ""
    found = next((c for c in text if _is_control(c) and c not in "\t\n\r"), "")
    return f"holds U+{ord(found):04X}, which is no character of a text" if found else ""


def _is_control(c: str) -> bool:
    return c < " " or "\x7f" <= c <= "\x9f" or "\ud800" <= c <= "\udfff" or c in "\ufffe\uffff"


def fault_of_name(name: str) -> str:
    """Why clients do not take a host or domain name; empty when they do.

    A name must go on the wire (RFC 1035 §2.3.4) and be one of hosts (RFC 1123 §2.1), but may have underscores within a
    label. ISC dhclient discards a whole search list for one name that is not such.
    """
    if len(name) > NAME_MAX:
        return f"longer than {NAME_MAX} characters"
    labels = name.split(".")
    if not all(labels):
        return "an empty label"
    if any(len(label) > LABEL_MAX for label in labels):
        return f"a label longer than {LABEL_MAX} characters"
    if not all(_is_label(label) for label in labels):
        return "a label is letters, digits, and within it `-` and `_`"
    return ""


def _is_label(label: str) -> bool:
    within = label.replace("-", "a").replace("_", "a")
    return label.isascii() and within.isalnum() and label[0].isalnum() and label[-1].isalnum()


def option_text(text: str) -> str:
    """The text if it is 1 to 255 printable ASCII characters without blanks; raises ValueError.

    Names and paths in options of DHCP (RFC 2132 §2).
    """
    if not text or len(text) > OPTION_MAX or not all("!" <= char <= "~" for char in text):
        raise ValueError(f"{text!r} must be 1 to {OPTION_MAX} printable ASCII characters without blanks")
    return text


def interface_name(text: str) -> str:
    """The name if an interface can have it, as `dev_valid_name` of the kernel has it; raises ValueError."""
    octets = len(text.encode(errors="surrogateescape")) if not _has_foreign_half(text) else 0
    if not 0 < octets <= INTERFACE_MAX or text in (".", "..") or any(c in "/:\0" or c.isspace() for c in text):
        raise ValueError(f"{text!r} is not the name of an interface (1 to {INTERFACE_MAX} octets)")
    return text


def _has_foreign_half(text: str) -> bool:
    """Whether there is half of a surrogate pair that `os.fsdecode` makes of no octet."""
    return any("\ud800" <= c <= "\udc7f" or "\udd00" <= c <= "\udfff" for c in text)
