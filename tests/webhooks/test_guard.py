"""A client names where a webhook goes; it never goes where only we could."""

from __future__ import annotations

import ipaddress
import random

import pytest

from tests.webhooks.receiver import Names
from undosend.webhooks.client import SystemLookup
from undosend.webhooks.guard import BlockedAddress, Guard, is_public, malformed, target

PUBLIC = ["93.184.215.14", "1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e"]

PRIVATE = [
    # RELIABILITY's table, row by row.
    *("127.0.0.1", "10.1.2.3", "169.254.169.254", "100.64.0.1", "0.0.0.0", "198.18.0.1"),
    *("224.0.0.1", "240.0.0.1", "192.88.99.1", "::1", "::ffff:127.0.0.1", "::127.0.0.1"),
    *("64:ff9b::7f00:1", "fec0::1", "fc00::1", "fe80::1", "2002:7f00:1::"),
    # More of each class.
    *("127.255.255.254", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1"),
    *("0.1.2.3", "255.255.255.255", "239.1.1.1", "192.0.0.192", "192.0.2.1", "203.0.113.9"),
    *("198.51.100.7", "100.100.100.200", "100.127.255.255", "198.19.255.255", "192.31.196.1"),
    *("192.52.193.1", "192.175.48.1", "168.63.129.16"),
    *("::", "::ffff:8.8.8.8", "::8.8.8.8", "::ffff:0:127.0.0.1", "64:ff9b::808:808"),
    *("64:ff9b:1::1", "2002:808:808::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
    *("2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "3fff::1", "5f00::1", "100::1"),
    *("fd00:ec2::254", "fdff::1", "febf::1", "feff::1", "ff02::1", "ff0e::1", "2620:4f:8000::1"),
    *("fe80::1%eth0", "2606:4700::1%1", "4000::1", "e000::1", "no address", "", "1.2.3"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_reached(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_may_not(address: str) -> None:
    assert not is_public(address)


def test_nothing_that_the_standard_library_calls_private_is_public() -> None:
    luck = random.Random(5)  # noqa: S311 - it guards nothing
    fours = (ipaddress.IPv4Address(luck.getrandbits(32)) for _ in range(20_000))
    sixes = (ipaddress.IPv6Address(luck.getrandbits(128)) for _ in range(20_000))
    ips: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = [*fours, *sixes]
    for ip in ips:
        assert ip.is_global or not is_public(str(ip))
        assert not (ip.is_multicast and is_public(str(ip)))


def test_no_ipv6_address_that_holds_an_ipv4_one_is_public() -> None:
    luck = random.Random(6)  # noqa: S311 - it guards nothing
    for _ in range(2000):
        four = luck.getrandbits(32)
        written = [
            ipaddress.IPv6Address(four),
            ipaddress.IPv6Address(0xFFFF << 32 | four),
            ipaddress.IPv6Address(0x64FF9B << 96 | four),
            ipaddress.IPv6Address(0x2002 << 112 | four << 80),
            ipaddress.IPv6Address(0x20010000 << 96 | four << 64),
        ]
        assert not any(is_public(str(ip)) for ip in written)


MALFORMED = [
    "ftp://x.example/",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "data:text/plain,x",
    "gopher://x.example/",
    "x.example/hook",
    "//x.example/hook",
    "",
    " ",
    "https:",
    "https://",
    "https:///hook",
    "https://:443/",
    "https://user@x.example/",
    "https://user:secret@x.example/",
    "https://@x.example/",
    "https://x.example@127.0.0.1/",
    "https://x.example/#part",
    "https://x.example/a#",
    "https://x.example:25/",
    "https://x.example:025/",
    "https://x.example:0/",
    "https://x.example:65536/",
    "https://x.example:port/",
    "https://x.example:-1/",
    "https://x.example:443:443/",
    "https://x.example/ space",
    "https://x.example/\r\nHost: y.example",
    "https://x.example/\x00",
    "https://x.example/\t",
    "https://x.example\\@127.0.0.1/",
    "https://bücher.example/",
    "https://①②⑦.⓪.⓪.①/",
    "https://\uff11\uff12\uff17.0.0.1/",
    "https://x.example/ü",
    "https://[::1/",
    "https://::1/",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1%eth0]/",
    "https://[::1]x/",
    "https://%31%32%37.0.0.1/",
    "https://x.example%00.y.example/",
    "https://x.example/" + "a" * 2048,
    "https://127.1/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://127.0.0.1./",
    "https://0x7f.1./",
    "https://256.256.256.256/",
    "https://1.2.3.4.5/",
    "https://08.1.1.1/",
    "https://999999999999/",
    "https://x.example.0x7f/",
    "https://x.123/",
    "https://x..example/",
    "https://x.example../",
    "https://.x.example/",
    "https://-x.example/",
    "https://x-.example/",
    f"https://{'a' * 64}.example/",
    f"https://{'.'.join(['a' * 50] * 5)}/",
]


@pytest.mark.parametrize("url", MALFORMED)
def test_a_url_that_says_more_or_less_than_where_is_refused(url: str) -> None:
    assert malformed(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://x.example",
        "https://x.example/",
        "https://x.example:443/hook?key=a%20b&c=(d)[e]",
        "https://xn--bcher-kva.example/%C3%BC",
        "https://[2606:4700:4700::1111]/",
        "https://8.8.8.8/",
        "HTTPS://X.example/a@b",
        "https://a_b.example/",
        "https://x.example./",
    ],
)
async def test_a_plain_url_is_taken(url: str) -> None:
    assert malformed(url) is None
    names = Names(x_example=[["8.8.8.8"]], a_b_example=[["8.8.8.8"]])
    assert await Guard().refusal(url, names) is None


def test_the_target_is_where_the_connection_would_go() -> None:
    assert target("https://X.example/") == ("x.example", 443, True)
    assert target("http://[::1]:8080/") == ("::1", 8080, False)


@pytest.mark.parametrize("address", PRIVATE[:-5])
async def test_a_url_with_an_address_that_is_not_public_is_refused(address: str) -> None:
    host = f"[{address}]" if ":" in address else address

    assert await Guard().refusal(f"https://{host}/", Names())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "0.0.0.0"])
async def test_the_ways_to_write_loopback_are_refused(host: str) -> None:
    """As the system reads them: it, not we, says what they mean."""
    lookup = SystemLookup()

    assert await Guard().refusal(f"https://{host}/", lookup)
    lookup.close()


async def test_a_name_is_refused_if_any_of_its_addresses_is() -> None:
    names = Names(both_example=[["8.8.8.8", "10.0.0.1"]], six_example=[["8.8.8.8", "::1"]])

    assert await Guard().refusal("https://both.example/", names)
    assert await Guard().refusal("https://six.example/", names)


async def test_a_name_that_cannot_be_resolved_now_is_taken_for_later() -> None:
    assert await Guard().refusal("https://later.example/", Names()) is None
    assert await Guard().refusal("http://later.example/", Names())
    assert await Guard().refusal("https://later.example:8443/", Names())
    assert await Guard(ports={8443}).refusal("https://later.example:8443/", Names()) is None


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost.",
        "a.localhost",
        "a.LocalHost.",
        "intranet",
        "db.internal",
        "printer.local",
        "x.home.arpa",
        "x.invalid",
    ],
)
async def test_a_name_that_will_never_be_public_is_not_taken_for_later(host: str) -> None:
    assert await Guard().refusal(f"https://{host}/", Names())


async def test_a_public_address_is_reached_by_tls_and_the_ports_for_it() -> None:
    names = Names(x_example=[["8.8.8.8"]])
    with_another = Guard(ports={443, 8443})

    assert "https" in str(await Guard(ports={80}).refusal("http://x.example/", names))
    assert "8443" in str(await Guard().refusal("https://x.example:8443/", names))
    assert await with_another.refusal("https://x.example:8443/", names) is None
    assert await with_another.refusal("http://x.example:8443/", names)
    assert await with_another.refusal("https://x.example:22/", names)


async def test_networks_for_development_are_reached_by_any_port_and_without_tls() -> None:
    guard = Guard(["127.0.0.0/8", "::1/128"])
    names = Names(dev_example=[["127.0.0.1", "::1"]], both_example=[["127.0.0.1", "10.0.0.1"]])

    assert await guard.refusal("http://dev.example:5000/", names) is None
    assert await guard.refusal("http://127.0.0.1:5000/", names) is None
    assert await guard.refusal("http://dev.example:25/", names)
    assert await guard.refusal("http://both.example/", names)
    assert await guard.refusal("http://[::ffff:127.0.0.1]/", names)
    assert await guard.refusal("http://10.0.0.1/", names)


def test_a_network_opens_itself_and_nothing_else() -> None:
    guard = Guard(["10.0.0.0/8"])

    guard.check([(2, ("10.9.8.7", 80))], tls=False)
    with pytest.raises(BlockedAddress):
        guard.check([(2, ("10.9.8.7", 80)), (2, ("11.0.0.1", 80))], tls=False)
    with pytest.raises(BlockedAddress):
        guard.check([(2, ("127.0.0.1", 443))], tls=True)
