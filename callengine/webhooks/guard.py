"""Which URLs may be called: a tenant chooses them, and we stand inside the operator's network.

A host's name is resolved by us for each attempt; all addresses behind it have to be public, or of a network that the
operator allows; and the connection is made to one of the addresses that were looked at, never by the name again.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any, Final
from urllib.parse import urlsplit

import idna
from gevent import monkey

from callengine.errors import LookupsBusy, NameNotResolved, UrlRefused
from callengine.webhooks import lookups
from callengine.webhooks.lookups import Lookups

Address = lookups.Address
Network = IPv4Network | IPv6Network

MAX_URL: Final = 2048
_MAX_ADDRESSES: Final = 16
_RESOLVERS: Final = 32
_OF_ONE_TENANT: Final = 4
_RESOLVERS_OF_NEW: Final = 8
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DOTTED: Final = re.compile(r"(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}")

# IANA's registries of special-purpose addresses, written out: what Python's is_global says differs by its version.
_CLOSED_4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's own, the one metadata address that is global by its number
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
_GLOBAL_6: Final = IPv6Network("2000::/3")
_CLOSED_6: Final = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
_NAT64: Final = IPv6Network("64:ff9b::/96")
_COMPATIBLE: Final = IPv6Network("::/96")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that has the form of one that may be called. ``host`` has neither brackets nor a trailing dot."""

    secure: bool
    host: str
    port: int
    path: str
    literal: Address | None

    @property
    def name(self) -> str:
        """Host and port, for messages: the path may hold a secret."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


# Asked with each delivery, of the same few; so is ``is_public``.
@lru_cache(maxsize=1024)
def parse(url: str) -> Target:
    """Raises UrlRefused where the form alone forbids to call it, in words that do not repeat it."""
    if len(url) > MAX_URL:
        raise UrlRefused(f"is longer than {MAX_URL} characters")
    if any(c <= " " or c == "\\" or not c.isprintable() for c in url):
        raise UrlRefused("must have no spaces, control characters or backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UrlRefused("is no URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UrlRefused("must begin with https:// and a host")
    if "@" in parts.netloc:
        raise UrlRefused("must name no user")
    if parts.fragment or url.endswith("#"):
        raise UrlRefused("must have no fragment")
    if port == 0 or parts.netloc.endswith(":"):
        raise UrlRefused("has no usable port")
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    if not path.isascii():
        raise UrlRefused("must be percent-encoded after the host")
    host, literal = _host(parts.hostname, bracketed="[" in parts.netloc)
    secure = parts.scheme == "https"
    return Target(secure, host, port or (443 if secure else 80), path if path[:1] == "/" else f"/{path}", literal)


def _host(given: str, *, bracketed: bool) -> tuple[str, Address | None]:
    if bracketed:
        try:
            literal: Address = IPv6Address(given)
        except ValueError:
            raise UrlRefused("has a host that is no IPv6 address") from None
        if "%" in given:
            raise UrlRefused("must name no zone")
        return literal.compressed, literal
    try:
        # Also folds what only looks like ASCII: full-width digits and dots would otherwise become an address later.
        name = given if given.isascii() else idna.encode(given, uts46=True).decode()
    except UnicodeError:
        raise UrlRefused("has a host that is no domain name") from None
    name = name.lower().removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _dotted(name)
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlRefused("has a host that is no domain name")
    return name, None


def _dotted(name: str) -> tuple[str, Address]:
    """Systems also read 2130706433, 0x7f.1 and 0177.0.0.1 as addresses, and not all of them as the same."""
    try:
        if not _DOTTED.fullmatch(name):
            raise ValueError
        return name, IPv4Address(name)
    except ValueError:
        raise UrlRefused("must write an IPv4 address as four decimal numbers") from None


def embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to (mapped, compatible, NAT64); else the address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


@lru_cache(maxsize=1024)
def is_public(address: Address) -> bool:
    """Whether it belongs to the internet at large, and to nobody's network, machine, cloud or tunnel in particular."""
    meant = embedded(address)
    if isinstance(meant, IPv4Address):
        return not any(meant in network for network in _CLOSED_4)
    return meant in _GLOBAL_6 and not any(meant in network for network in _CLOSED_6)


def lookup(host: str, port: int) -> list[Any]:
    """getaddrinfo in the calling thread."""
    found = _getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    return list(found)


_getaddrinfo: Callable[..., Any] = monkey.get_original("socket", "getaddrinfo")


class Guard:
    """``allow_networks``: CIDRs that may be called though they are not public. ``allow_http``: also without TLS.

    ``resolve(host, port)`` answers like getaddrinfo, in a native thread; raises OSError.
    """

    def __init__(
        self,
        allow_networks: Sequence[str] = (),
        *,
        allow_http: bool = False,
        resolve: Callable[[str, int], list[Any]] = lookup,
    ) -> None:
        self._networks: tuple[Network, ...] = tuple(ip_network(text) for text in allow_networks)
        self._allow_http = allow_http
        self._lookups = Lookups(resolve, _RESOLVERS, _OF_ONE_TENANT)
        # Apart from those that deliver: whoever registers endpoints must hold up nobody's deliveries.
        self._lookups_of_new = Lookups(resolve, _RESOLVERS_OF_NEW, 1)

    def addresses(self, target: Target, tenant_id: str = "") -> list[Address]:
        """The addresses to connect to, in the order to try them: all of them may be called.

        Raises UrlRefused, NameNotResolved, and LookupsBusy, which says nothing of the endpoint. Waits for DNS, for a
        few seconds at most. ``tenant_id`` is whose endpoint it is: nobody's lookups take all the threads.
        """
        return self._addresses(self._lookups, target, tenant_id)

    def _addresses(self, lookups: Lookups, target: Target, tenant_id: str) -> list[Address]:
        found = [target.literal] if target.literal is not None else self._look_up(lookups, target, tenant_id)
        allowed = [self._is_allowed(address) for address in found]
        if not all(ok or is_public(address) for ok, address in zip(allowed, found, strict=True)):
            raise UrlRefused("leads to an address that is not public, and not in webhooks.allow_networks")
        if not target.secure and not self._allow_http and not all(allowed):
            raise UrlRefused("must begin with https://")
        return found

    def addresses_of_new(self, target: Target, tenant_id: str = "") -> list[Address]:
        """The same for an endpoint that is registered, as far as is known by now. Raises UrlRefused.

        A name that does not resolve yet, or cannot be looked up now, may do so later; each attempt looks again.
        """
        if not target.secure and not self._allow_http and not self._networks:
            raise UrlRefused("must begin with https://")
        try:
            return self._addresses(self._lookups_of_new, target, tenant_id)
        except (NameNotResolved, LookupsBusy):
            return []

    def _is_allowed(self, address: Address) -> bool:
        return any(one in network for one in {address, embedded(address)} for network in self._networks)

    @staticmethod
    def _look_up(lookups: Lookups, target: Target, tenant_id: str) -> list[Address]:
        found = lookups.addresses(target.host, target.port, tenant_id)
        if len(found) > _MAX_ADDRESSES:
            raise UrlRefused(f"has more than {_MAX_ADDRESSES} addresses")
        return found
