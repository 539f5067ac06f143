"""What one client is served: the configuration, checked when it is read."""

from __future__ import annotations

from dhcp.address import ANY, is_unicast, network, parse_ipv4, parse_mac, parse_network
from dhcp.optioncodes import BOOT_FILE_NAME, NTP_SERVERS, TFTP_SERVER_NAME, parse_option
from dhcp.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    _T = TypeVar("_T")

INFINITE = 0xFFFFFFFF
DEFAULT_LEASE = 86_400
# A change of the configuration reaches every client that honours option 58 within the hour,
# and a dead server hurts nobody for a day.
DEFAULT_T1 = 3_600
DEFAULT_T2 = 75_600
SHORTEST_LEASE = 4  # below it T1 < T2 < lease has no solution in whole seconds
SMALLEST_MTU = 68  # RFC 2132 §5.1


class ConfigError(ValueError):
    """A configuration that cannot be served; the message starts with the path of the field."""


@record
class Route:
    """One classless static route; `gateway` 0.0.0.0 is on-link (RFC 3442)."""

    destination: bytes
    prefix_length: int
    gateway: bytes


@record
class ClientConfig:
    """Everything that the one client behind one interface is told. Addresses are in network byte order."""

    client_mac: bytes
    client_address: bytes
    prefix_length: int
    server_address: bytes
    interface: str = ""
    router: bytes = b""
    routes: tuple[Route, ...] = ()
    dns: tuple[bytes, ...] = ()
    search: tuple[str, ...] = ()
    domain: str = ""
    hostname: str = ""
    mtu: int = 0
    """Option 26 in octets; 0 is "not told"."""
    ntp: tuple[bytes, ...] = ()
    tftp_server: str = ""
    boot_file: str = ""
    options: tuple[tuple[int, bytes], ...] = ()
    """Further options by number, encoded."""
    lease_seconds: int = DEFAULT_LEASE
    t1_seconds: int = DEFAULT_T1
    """0 with an infinite lease, as `t2_seconds` is."""
    t2_seconds: int = DEFAULT_T2
    rapid_commit: bool = False
    neighbours: tuple[tuple[bytes, bytes], ...] = ()
    """(IPv4 address, MAC) that the guest resolves although nobody on the link answers for it."""


def parse_configs(data: object) -> tuple[ClientConfig, ...]:
    """The configurations in decoded JSON: one object, or a list of objects that each name their interface.

    Raises ConfigError, whose message starts with the path of the field, e.g. `[0].options.224: …`.
    """
    if isinstance(data, dict):
        return (_parse_config(_Fields(data, "")),)
    if not isinstance(data, list) or not data:
        raise ConfigError("configuration: must be an object or a list of objects")
    configs: list[ClientConfig] = []
    for index, item in enumerate(data):
        path = f"[{index}]"
        if not isinstance(item, dict):
            raise ConfigError(f"{path}: must be an object")
        config = _parse_config(_Fields(item, f"{path}."))
        if not config.interface and len(data) > 1:
            raise ConfigError(f"{path}.interface: is required when several interfaces are served")
        if any(config.interface == other.interface for other in configs):
            raise ConfigError(f"{path}.interface: {config.interface!r} is served twice")
        configs.append(config)
    return tuple(configs)


def _parse_config(fields: _Fields) -> ClientConfig:
    client_address, prefix_length = fields.required("client_address", parse_network)
    server_address = fields.required("server_address", parse_ipv4)
    for name, address in (("client_address", client_address), ("server_address", server_address)):
        if not is_unicast(address):
            raise fields.error(name, "must be a unicast address")
    if server_address == client_address:
        raise fields.error("server_address", "must not be the client's address")
    routes = tuple(fields.items("routes", _parse_route))
    router = fields.optional("router", parse_ipv4, b"")
    if router and (not is_unicast(router) or router == client_address):
        raise fields.error("router", "must be another host's unicast address")
    neighbours = tuple(fields.pairs("neighbours", lambda ip, mac: (parse_ipv4(ip), parse_mac(_text(mac)))))
    if any(address == client_address for address, _ in neighbours):
        raise fields.error("neighbours", "the client's own address must stay unanswered (RFC 5227)")
    lease, t1, t2 = _parse_times(fields)
    config = ClientConfig(
        client_mac=fields.required("client_mac", parse_mac),
        client_address=client_address,
        prefix_length=prefix_length,
        server_address=server_address,
        interface=fields.optional("interface", _interface_name, ""),
        router=router,
        routes=routes,
        dns=tuple(fields.items("dns", lambda item: parse_ipv4(_text(item)))),
        search=tuple(fields.items("search", lambda item: _domain_name(_text(item)))),
        domain=fields.optional("domain", _domain_name, ""),
        hostname=fields.optional("hostname", _plain_text, ""),
        mtu=fields.integer("mtu", SMALLEST_MTU, 0xFFFF, 0),
        ntp=tuple(fields.items("ntp", lambda item: parse_ipv4(_text(item)))),
        tftp_server=fields.optional("tftp_server", _plain_text, ""),
        boot_file=fields.optional("boot_file", _plain_text, ""),
        options=tuple(fields.pairs("options", _parse_numbered_option)),
        lease_seconds=lease,
        t1_seconds=t1,
        t2_seconds=t2,
        rapid_commit=fields.boolean("rapid_commit"),
        neighbours=neighbours,
    )
    for code, name in ((NTP_SERVERS, "ntp"), (TFTP_SERVER_NAME, "tftp_server"), (BOOT_FILE_NAME, "boot_file")):
        if fields.given(name) and any(code == number for number, _ in config.options):
            raise fields.error(f"options.{code}", f"is already set by the field {name!r}")
    fields.refuse_unknown()
    return config


def _parse_times(fields: _Fields) -> tuple[int, int, int]:
    """Lease, T1 and T2 in seconds; RFC 2131 §4.4.5 gives 0.5 and 0.875 of the lease as the defaults."""
    lease = fields.integer("lease_seconds", SHORTEST_LEASE, INFINITE, DEFAULT_LEASE)
    if lease == INFINITE:
        for name in ("t1_seconds", "t2_seconds"):
            if fields.given(name):
                raise fields.error(name, "an infinite lease is never renewed")
        return INFINITE, 0, 0
    defaults = (DEFAULT_T1, DEFAULT_T2) if lease == DEFAULT_LEASE else (lease // 2, lease * 7 // 8)
    t1 = fields.integer("t1_seconds", 1, INFINITE - 1, defaults[0])
    t2 = fields.integer("t2_seconds", 1, INFINITE - 1, defaults[1])
    if t1 >= t2:
        raise fields.error("t1_seconds", f"{t1} must be less than t2_seconds ({t2})")
    if t2 >= lease:
        raise fields.error("t2_seconds", f"{t2} must be less than lease_seconds ({lease})")
    return lease, t1, t2


class _Fields:
    """The fields of one JSON object, each taken once, so that what is left over is unknown."""

    def __init__(self, data: dict[object, object], path: str) -> None:
        self._data = data
        self._path = path
        self._taken: set[object] = set()

    def error(self, name: str, reason: str) -> ConfigError:
        return ConfigError(f"{self._path}{name}: {reason}")

    def given(self, name: str) -> bool:
        return self._data.get(name) is not None

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
            return parse(_text(self._data[name]))
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

    def boolean(self, name: str) -> bool:
        self._taken.add(name)
        value = self._data.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.error(name, "must be true or false")
        return bool(value)

    def items(self, name: str, parse: Callable[[object], _T]) -> list[_T]:
        self._taken.add(name)
        value = self._data.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.error(name, "must be a list")
        parsed: list[_T] = []
        for index, item in enumerate(value):
            try:
                parsed.append(parse(item))
            except ConfigError as error:  # of a field inside the item
                raise ConfigError(f"{self._path}{name}[{index}].{error}") from None
            except ValueError as error:
                raise self.error(f"{name}[{index}]", str(error)) from None
        return parsed

    def pairs(self, name: str, parse: Callable[[str, object], _T]) -> list[_T]:
        self._taken.add(name)
        value = self._data.get(name)
        if value is None:
            return []
        if not isinstance(value, dict):
            raise self.error(name, "must be an object")
        parsed: list[_T] = []
        for key, item in value.items():
            try:
                parsed.append(parse(_text(key), item))
            except ValueError as error:
                raise self.error(f"{name}.{key}", str(error)) from None
        return parsed

    def refuse_unknown(self) -> None:
        for name in self._data:
            if name not in self._taken:
                raise self.error(str(name), "unknown field")


def _parse_route(item: object) -> Route:
    if not isinstance(item, dict):
        raise ValueError("must be an object with destination and gateway")
    fields = _Fields(item, "")
    destination, length = fields.required("destination", parse_network)
    gateway = fields.optional("gateway", parse_ipv4, ANY)
    fields.refuse_unknown()
    if network(destination, length) != destination:
        raise fields.error("destination", f"{item['destination']!r} has bits set beyond its prefix length")
    if gateway != ANY and not is_unicast(gateway):
        raise fields.error("gateway", "must be a unicast address, or 0.0.0.0 for an on-link route")
    return Route(destination, length, gateway)


def _parse_numbered_option(number: str, value: object) -> tuple[int, bytes]:
    if not (number.isascii() and number.isdigit()) or number != str(int(number)):
        raise ValueError("options are named by their decimal number")
    return int(number), parse_option(int(number), _text(value))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def _plain_text(text: str) -> str:
    """Non-empty printable ASCII without blanks, at most 255 octets: names and paths in options (RFC 2132 §2)."""
    if not text or len(text) > 255 or not all("!" <= char <= "~" for char in text):
        raise ValueError(f"{text!r} must be 1 to 255 printable ASCII characters without blanks")
    return text


def _domain_name(text: str) -> str:
    """A domain name without its trailing dot that can be encoded as RFC 1035 labels."""
    name = _plain_text(text).removesuffix(".")
    labels = name.split(".")
    if not all(0 < len(label) <= 63 for label in labels):
        raise ValueError(f"{text!r} has a label that is empty or longer than 63 octets (RFC 1035 §2.3.4)")
    if len(name) + 2 > 255:
        raise ValueError(f"{text!r} is longer than 255 octets when encoded (RFC 1035 §2.3.4)")
    return name


def _interface_name(text: str) -> str:
    if not 0 < len(text.encode()) < 16 or "/" in text or any(char.isspace() or char == "\0" for char in text):
        raise ValueError(f"{text!r} is not the name of an interface (1 to 15 octets)")
    return text
