"""Which URLs may be called."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from callengine.errors import NameNotResolved, UrlRefused
from callengine.webhooks.guard import MAX_URL, Guard, is_public, parse

PUBLIC = "93.184.216.34"


def resolving(*addresses: str) -> Any:
    return lambda host, port: [(0, 1, 6, "", (address, port)) for address in addresses]


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("https://example.com", "example.com", 443, "/"),
        ("https://EXAMPLE.com./hook?a=b", "example.com", 443, "/hook?a=b"),
        ("https://example.com:8443?x", "example.com", 8443, "/?x"),
        ("http://example.com/", "example.com", 80, "/"),
        ("https://bücher.example/", "xn--bcher-kva.example", 443, "/"),
        ("https://straße.example/", "xn--strae-oqa.example", 443, "/"),
        ("https://[2606:2800:220:1::1]:444/", "2606:2800:220:1::1", 444, "/"),
        ("https://a_b.example.com/%C3%A9", "a_b.example.com", 443, "/%C3%A9"),
    ],
)
def test_what_may_be_called(url: str, host: str, port: int, path: str) -> None:
    target = parse(url)
    assert (target.host, target.port, target.path) == (host, port, path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "https://",
        "https:///path",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com\\@127.0.0.1/",
        "https://example.com/#x",
        "https://example.com/#",
        "https://example.com:0/",
        "https://example.com:/",
        "https://example.com:65536/",
        "https://example.com:x/",
        "https://exa mple.com/",
        "https://example.com/a b",
        "https://example.com/\r\nX: y",
        "https://example.com/\x00",
        "https://example.com/é",
        "https://exa%6dple.com/",
        "https://-a.example/",
        "https://a..example/",
        "https://.example/",
        f"https://{'a' * 64}.example/",
        f"https://{'a.' * 130}example/",
        f"https://example.com/{'a' * MAX_URL}",
        "https://[::1%25lo]/",
        "https://[127.0.0.1]/",
        "https://[::1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://127.0.0.01/",
        "https://127.0.0.1.1/",
        "https://256.0.0.1/",
        "https://1.2.3.0x4/",
        "https://example.com.1/",
        "https://１２７.1/",
    ],
)
def test_what_has_not_the_form(url: str) -> None:
    with pytest.raises(UrlRefused):
        parse(url)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:5db8:d822::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))
    guard = Guard(resolve=resolving(address))
    with pytest.raises(UrlRefused, match="not public"):
        guard.addresses(parse("https://rebound.example/"))
    literal = f"[{address}]" if ":" in address else address
    with pytest.raises(UrlRefused):
        guard.addresses(parse(f"https://{literal}/"))


@pytest.mark.parametrize("address", [PUBLIC, "1.1.1.1", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"])
def test_addresses_that_are(address: str) -> None:
    assert is_public(ip_address(address))
    assert Guard(resolve=resolving(address)).addresses(parse("https://x.example/")) == [ip_address(address)]


def test_all_addresses_count() -> None:
    with pytest.raises(UrlRefused):
        Guard(resolve=resolving(PUBLIC, "10.0.0.1")).addresses(parse("https://x.example/"))
    many = [f"1.1.1.{n}" for n in range(1, 40)]
    with pytest.raises(UrlRefused, match="more than"):
        Guard(resolve=resolving(*many)).addresses(parse("https://x.example/"))


def test_the_name_is_looked_up_each_time() -> None:
    answers = iter([PUBLIC, "127.0.0.1"])
    guard = Guard(resolve=lambda host, port: [(0, 1, 6, "", (next(answers), port))])
    target = parse("https://x.example/")
    assert guard.addresses(target) == [ip_address(PUBLIC)]
    with pytest.raises(UrlRefused):
        guard.addresses(target)


def test_networks_that_are_allowed() -> None:
    guard = Guard(["10.1.0.0/16", "fd00::/8"], resolve=resolving("10.1.2.3"))
    assert guard.addresses(parse("https://crm.internal/"))
    assert guard.addresses(parse("http://crm.internal/"))
    assert guard.addresses(parse("http://[fd00::1]/"))
    assert guard.addresses(parse("https://[::ffff:10.1.2.3]/"))
    with pytest.raises(UrlRefused):
        guard.addresses(parse("https://10.2.0.1/"))


def test_without_tls_only_where_it_is_allowed() -> None:
    with pytest.raises(UrlRefused, match="https"):
        Guard(resolve=resolving(PUBLIC)).addresses(parse("http://x.example/"))
    assert Guard(allow_http=True, resolve=resolving(PUBLIC)).addresses(parse("http://x.example/"))
    with pytest.raises(UrlRefused, match="https"):
        Guard(["10.1.0.0/16"], resolve=resolving("10.1.2.3", PUBLIC)).addresses(parse("http://x.example/"))


@pytest.mark.parametrize("error", [OSError("x"), UnicodeError("x")])
def test_a_name_that_does_not_resolve(error: Exception) -> None:
    def fail(host: str, port: int) -> list[Any]:
        raise error

    guard = Guard(resolve=fail)
    with pytest.raises(NameNotResolved):
        guard.addresses(parse("https://x.example/"))
    assert guard.addresses_of_new(parse("https://x.example/")) == []
    with pytest.raises(UrlRefused):
        guard.addresses_of_new(parse("http://x.example/"))


def test_the_systems_own_resolver() -> None:
    assert ip_address("127.0.0.1") in Guard(["127.0.0.0/8", "::1/128"]).addresses(parse("https://localhost/"))
    with pytest.raises(UrlRefused):
        Guard().addresses(parse("https://localhost/"))
