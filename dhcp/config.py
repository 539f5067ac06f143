"""What one client is served: the configuration, checked when it is read. Pure."""

from __future__ import annotations

from dhcp.json_fields import ConfigError, Fields, text_of
from dhcp.lean.frozen import Frozen
from dhcp.lean.text import interface_name, option_text
from dhcp.wire.addresses import ANY, ipv4_text, is_unicast, network, parse_ipv4, parse_mac, parse_network
from dhcp.wire.option_codes import BOOT_FILE_NAME, IPV6_ONLY_PREFERRED, NTP_SERVERS, TFTP_SERVER_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from dhcp.config6 import ClientConfig6

__all__ = ["ClientConfig", "ConfigError", "Route", "interfaces_of", "parse_configs"]

# What a configuration may take: thousands of routes, but not a guest's or a caller's mistake of any size.
LARGEST_CONFIGURATION = 4 * 1024 * 1024
INFINITE = 0xFFFFFFFF
DEFAULT_LEASE = 86_400
# A change of the configuration reaches every client that honours option 58 within the hour,
# and no client loses its address before a day without a server.
DEFAULT_T1 = 3_600
DEFAULT_T2 = 75_600
SHORTEST_LEASE = 4  # below it T1 < T2 < lease has no solution in whole seconds
SMALLEST_MTU, LARGEST_MTU = 68, 0xFFFF  # RFC 2132 §5.1
SMALLEST_MTU6 = 1280  # RFC 8200 §5
FIELDS6 = (
    *("client_address6", "router6", "router6_lladdr", "uplink6", "routes6", "on_link6", "dns6", "options6"),
    *("lease_end6", "preferred_end6"),
)


class Route(Frozen):
    """One classless static route; `gateway` 0.0.0.0 is on-link (RFC 3442)."""

    destination: bytes
    prefix_length: int
    gateway: bytes


class ClientConfig(Frozen):
    """Everything that the one client behind one interface is served. Addresses are in network byte order."""

    client_mac: bytes
    """The only client that is answered."""
    client_address: bytes
    """Empty, as `server_address` may be then, where nothing but IPv6 is served."""
    prefix_length: int
    """In JSON it is part of `client_address`: `10.0.0.2/24`."""
    server_address: bytes
    """The server identifier, option 54: the router's, or a free link-local address."""
    interface: str = ""
    """The guest port; may be left out where there is one, which the command line names."""
    router: bytes = b""
    """The default gateway, option 3."""
    routes: tuple[Route, ...] = ()
    """Option 121; in JSON `{"destination": "10.1.0.0/16", "gateway": "10.0.0.1"}`, on-link without a gateway."""
    dns: tuple[bytes, ...] = ()
    """Name servers, option 6."""
    search: tuple[str, ...] = ()
    """Search list, option 119."""
    domain: str = ""
    """Option 15."""
    hostname: str = ""
    """Option 12."""
    mtu: int = 0
    """Option 26 in octets; 0 leaves it out."""
    ntp: tuple[bytes, ...] = ()
    """Option 42."""
    tftp_server: str = ""
    """Option 66."""
    boot_file: str = ""
    """Option 67."""
    options: tuple[tuple[int, bytes], ...] = ()
    """Further options by number, encoded; in JSON `{"224": "text", "225": "0x0102"}`."""
    lease_seconds: int = DEFAULT_LEASE
    """Option 51; 4294967295 is for ever."""
    t1_seconds: int = DEFAULT_T1
    """Option 58; 0 with an infinite lease, as `t2_seconds` is."""
    t2_seconds: int = DEFAULT_T2
    """Option 59."""
    lease_end: int = 0
    """When the IPv4 address runs out, by CLOCK_BOOTTIME in seconds; 0 for never. The times above are shorter then."""
    rapid_commit: bool = False
    """Answer a DISCOVER with option 80 by an ACK (RFC 4039), and a Solicit likewise."""
    neighbours: tuple[tuple[bytes, bytes], ...] = ()
    """(IPv4 or IPv6 address, MAC) that the server answers for, because no host on the link does."""
    allowed_sources: tuple[bytes, ...] = ()
    """The IPv4 source addresses that isolation lets the guest send from, the field `heard`; empty where it is any."""
    ipv6: ClientConfig6 | None = None
    """What is served over IPv6; in JSON its fields stand beside these."""


def parse_configs(data: object) -> tuple[ClientConfig, ...]:
    """The configurations in decoded JSON: one object, or a list of objects that each name their interface.

    Raises ConfigError, whose message starts with the path of the field, e.g. `[0].options.224: …`.
    """
    if isinstance(data, dict):
        return (_parse_config(Fields(data, "")),)
    if not isinstance(data, list) or not data:
        raise ConfigError("configuration: must be an object or a list of objects")
    configs: list[ClientConfig] = []
    for index, item in enumerate(data):
        path = f"[{index}]"
        if not isinstance(item, dict):
            raise ConfigError(f"{path}: must be an object")
        config = _parse_config(Fields(item, f"{path}."))
        if not config.interface and len(data) > 1:
            raise ConfigError(f"{path}.interface: is required when several interfaces are served")
        if any(config.interface == other.interface for other in configs):
            raise ConfigError(f"{path}.interface: {config.interface!r} is served twice")
        configs.append(config)
    return tuple(configs)


def interfaces_of(configs: Sequence[ClientConfig]) -> list[str]:
    """The interfaces on which a server of these needs a packet socket: guest ports, and where gateways are resolved."""
    uplinks = [config.ipv6.uplink for config in configs if config.ipv6 and config.ipv6.uplink]
    return [*(config.interface for config in configs), *uplinks]


def _parse_config(fields: Fields) -> ClientConfig:
    ipv6: ClientConfig6 | None = None
    if fields.any_given(FIELDS6):
        from dhcp.config6 import parse_config6

        ipv6 = parse_config6(fields)
    client_address, prefix_length, server_address = b"", 32, b""
    if fields.given("client_address") or ipv6 is None or not ipv6.client_address:
        client_address, prefix_length = fields.required("client_address", parse_network)
        server_address = fields.required("server_address", parse_ipv4)
    else:  # IPv6 only; the server identifier of an IPv6-only offer (option 108)
        server_address = fields.optional("server_address", parse_ipv4, b"")
    for name, address in (("client_address", client_address), ("server_address", server_address)):
        if address and not is_unicast(address):
            raise fields.error(name, "must be a unicast address")
    if client_address and server_address == client_address:
        raise fields.error("server_address", "must not be the client's address")
    routes = tuple(fields.objects("routes", _parse_route))
    router = fields.optional("router", parse_ipv4, b"")
    if router and (not is_unicast(router) or router == client_address):
        raise fields.error("router", "must be another host's unicast address")
    neighbours = tuple(fields.pairs("neighbours", lambda ip, mac: (_parse_address(ip), parse_mac(text_of(mac)))))
    own = {client_address, ipv6.client_address} if ipv6 else {client_address}
    if any(address in own for address, _ in neighbours):
        raise fields.error("neighbours", "the client's own address must stay unanswered (RFC 5227, RFC 4862 §5.4)")
    lease, t1, t2 = _parse_times(fields)
    config = ClientConfig(
        client_mac=fields.required("client_mac", parse_mac),
        client_address=client_address,
        prefix_length=prefix_length,
        server_address=server_address,
        interface=fields.optional("interface", interface_name, ""),
        router=router,
        routes=routes,
        dns=tuple(fields.texts("dns", parse_ipv4)),
        search=tuple(fields.texts("search", _domain_name)),
        domain=fields.optional("domain", _domain_name, ""),
        hostname=fields.optional("hostname", option_text, ""),
        mtu=fields.integer("mtu", SMALLEST_MTU, LARGEST_MTU, 0),
        ntp=tuple(fields.texts("ntp", parse_ipv4)),
        tftp_server=fields.optional("tftp_server", option_text, ""),
        boot_file=fields.optional("boot_file", option_text, ""),
        options=tuple(fields.numbered("options", _parse_option)),
        lease_seconds=lease,
        t1_seconds=t1,
        t2_seconds=t2,
        lease_end=fields.boot_time("lease_end"),
        rapid_commit=fields.boolean("rapid_commit"),
        neighbours=neighbours,
        allowed_sources=tuple(fields.texts("heard", parse_ipv4)),
        ipv6=ipv6,
    )
    if ipv6 and 0 < config.mtu < SMALLEST_MTU6:
        raise fields.error("mtu", f"{config.mtu} is too small for IPv6 (RFC 8200 §5: at least {SMALLEST_MTU6})")
    if not server_address and any(code == IPV6_ONLY_PREFERRED for code, _ in config.options):
        raise fields.error("server_address", f"is required for option {IPV6_ONLY_PREFERRED}")
    for code, name in ((NTP_SERVERS, "ntp"), (TFTP_SERVER_NAME, "tftp_server"), (BOOT_FILE_NAME, "boot_file")):
        if fields.given(name) and any(code == number for number, _ in config.options):
            raise fields.error(f"options.{code}", f"is already set by the field {name!r}")
    fields.refuse_unknown()
    return config


def _parse_times(fields: Fields) -> tuple[int, int, int]:
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


def _parse_route(fields: Fields) -> Route:
    destination, length = fields.required("destination", parse_network)
    gateway = fields.optional("gateway", parse_ipv4, ANY)
    if network(destination, length) != destination:
        raise fields.error("destination", f"{ipv4_text(destination)}/{length} has bits set beyond its prefix length")
    if gateway != ANY and not is_unicast(gateway):
        raise fields.error("gateway", "must be a unicast address, or 0.0.0.0 for an on-link route")
    return Route(destination, length, gateway)


def _parse_address(text: str) -> bytes:
    if ":" not in text:
        return parse_ipv4(text)
    from dhcp.wire.addresses6 import parse_ipv6

    return parse_ipv6(text)


def _parse_option(code: int, text: str) -> bytes:
    from dhcp.config_options import parse_option

    return parse_option(code, text)


def _domain_name(text: str) -> str:
    """A domain name without its trailing dot that can be encoded as RFC 1035 labels."""
    name = option_text(text).removesuffix(".")
    labels = name.split(".")
    if not all(0 < len(label) <= 63 for label in labels):
        raise ValueError(f"{text!r} has a label that is empty or longer than 63 octets (RFC 1035 §2.3.4)")
    if len(name) + 2 > 255:
        raise ValueError(f"{text!r} is longer than 255 octets when encoded (RFC 1035 §2.3.4)")
    return name
