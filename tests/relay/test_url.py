"""One URL says where the relay is; what it refuses, it refuses without telling the password."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undosend.domain.errors import Misconfigured
from undosend.relay.url import RelayAddress, is_loopback, relay_address

SECRET = "s3cr3t-w0rd"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("smtp://mail.test", RelayAddress("mail.test", 587, implicit_tls=False, start_tls=True)),
        ("smtp://mail.test:25/", RelayAddress("mail.test", 25, implicit_tls=False, start_tls=True)),
        ("SMTP://MAIL.test", RelayAddress("mail.test", 587, implicit_tls=False, start_tls=True)),
        ("smtps://mail.test", RelayAddress("mail.test", 465, implicit_tls=True, start_tls=False)),
        (
            "smtps://mail.test:2465",
            RelayAddress("mail.test", 2465, implicit_tls=True, start_tls=False),
        ),
        (
            "smtp://mail.test?tls=required",
            RelayAddress("mail.test", 587, implicit_tls=False, start_tls=True),
        ),
        (
            "smtp://mail.test:25?tls=off",
            RelayAddress("mail.test", 25, implicit_tls=False, start_tls=False),
        ),
        (
            "smtp://[2001:db8::1]",
            RelayAddress("2001:db8::1", 587, implicit_tls=False, start_tls=True),
        ),
        (
            "smtp://192.0.2.1:2525",
            RelayAddress("192.0.2.1", 2525, implicit_tls=False, start_tls=True),
        ),
    ],
)
def test_relay_url_says_host_port_and_tls(url: str, address: RelayAddress) -> None:
    assert relay_address(url) == address


LOOPBACK = ["localhost", "LOCALHOST", "127.0.0.1", "127.8.7.6", "[::1]"]


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_relay_without_a_password_is_spoken_to_in_the_clear(host: str) -> None:
    assert not relay_address(f"smtp://{host}:2525").secured


@pytest.mark.parametrize("who", [f"ann:{SECRET}", "ann", f":{SECRET}"])
@pytest.mark.parametrize("host", [*LOOPBACK, "mail.test"])
def test_whoever_is_given_credentials_must_speak_tls(host: str, who: str) -> None:
    assert relay_address(f"smtp://{who}@{host}:2525").start_tls
    assert relay_address(f"smtps://{who}@{host}:2525").implicit_tls


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_loopback_relay_with_smtps_has_tls(host: str) -> None:
    assert relay_address(f"smtps://{host}").implicit_tls


@pytest.mark.parametrize(
    "host", ["localhost.example.com", "127.1", "0.0.0.0", "localhost.", "10.0.0.1", "2130706433"]
)
def test_host_that_only_looks_like_loopback_needs_tls(host: str) -> None:
    assert not is_loopback(host)
    assert relay_address(f"smtp://{host}").start_tls


@pytest.mark.parametrize(
    ("given_as", "meant"),
    [
        ("ann:secret", ("ann", "secret")),
        ("ann%40a.test:p%40ss%3A%2F%3F%23%25", ("ann@a.test", "p@ss:/?#%")),
        ("ann:a+b", ("ann", "a+b")),
        ("ann:p%C3%A4ss", ("ann", "päss")),
        ("ann:p@ss", ("ann", "p@ss")),
        ("ann:a:b", ("ann", "a:b")),
        ("ann", ("ann", None)),
    ],
)
def test_credentials_are_percent_decoded(given_as: str, meant: tuple[str, str | None]) -> None:
    address = relay_address(f"smtps://{given_as}@mail.test")

    assert (address.username, address.password) == meant
    assert address.host == "mail.test"


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_credentials_survive_the_url(username: str, password: str) -> None:
    address = relay_address(f"smtps://{quote(username, '')}:{quote(password, '')}@mail.test")

    assert (address.username, address.password) == (username, password)


def test_password_is_not_shown() -> None:
    address = relay_address(f"smtps://ann:{SECRET}@mail.test")

    assert SECRET not in repr(address)
    assert str(address) == "mail.test:465"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.test",
        "mail.test:25",
        "//mail.test",
        "smtp:",
        "smtp://",
        "smtp://:25",
        "smtp:///path",
        "http://mail.test",
        "http://mail.test:25",
        "smtpss://mail.test:465",
        "://mail.test:25",
        "smtp://mail.test/path",
        "smtp://mail.test#fragment",
        "smtp://mail.test:0",
        "smtp://mail.test:65536",
        "smtp://mail.test:-1",
        "smtp://mail.test:smtp",
        "smtp://[::1",
        "smtp://mail.test?tls=none",
        "smtp://mail.test?tls=",
        "smtp://mail.test?tls=off&tls=on",
        "smtp://mail.test?TLS=off",
        "smtp://mail.test?starttls=off",
        "smtp://mail.test?tls=off&timeout=3",
        "smtps://mail.test?tls=off",
    ],
)
def test_relay_url_that_is_no_relay_url_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="relay URL"):
        relay_address(url)


@pytest.mark.parametrize("who", [f"ann:{SECRET}", "ann", f":{SECRET}"])
@pytest.mark.parametrize("host", [*LOOPBACK, "mail.test", "127.1", "localhost.example.com"])
def test_password_in_the_clear_is_refused(host: str, who: str) -> None:
    with pytest.raises(Misconfigured, match="without TLS") as refused:
        relay_address(f"smtp://{who}@{host}?tls=off")

    assert SECRET not in str(refused.value)
    assert host.strip("[]").lower() in str(refused.value)


@pytest.mark.parametrize("credentials", [{"username": "ann"}, {"password": SECRET}])
def test_there_is_no_address_with_credentials_and_without_tls(credentials: dict[str, str]) -> None:
    with pytest.raises(Misconfigured, match="without TLS") as refused:
        RelayAddress("127.0.0.1", 25, implicit_tls=False, start_tls=False, **credentials)

    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        f"http://ann:{SECRET}@mail.test",
        f"smtp://ann:{SECRET}",
        f"smtp://ann:{SECRET}@",
        f"smtp://ann:{SECRET}@mail.test:65536",
        f"smtp://ann:{SECRET}@mail.test/x",
        f"smtp://ann:{SECRET}@[mail.test",
        f"smtp://ann:{SECRET}/x@mail.test",
        f"smtp://ann:25/{SECRET}@mail.test",
        f"smtp://ann:25?{SECRET}@mail.test",
        f"smtp://ann:25#{SECRET}@mail.test",
        f"smtp://ann:{SECRET}@mail.test?tls=maybe",
        f"smtp://ann:{SECRET}@mail.test?tls=off",
        f"smtp://ann:{SECRET}@mail\u2100test",
        f"smtps://ann:{SECRET}@mail.test?tls=off",
    ],
)
def test_refusal_never_tells_the_password(url: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        relay_address(url)

    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@given(st.text(), st.sampled_from(["smtp", "smtps", "http", ""]), st.text())
def test_no_text_at_all_makes_it_raise_anything_else(text: str, scheme: str, rest: str) -> None:
    for url in (text, f"{scheme}://{text}@{rest}", f"{scheme}://mail.test{text}"):
        try:
            relay_address(url)
        except Misconfigured:
            continue


def test_a_loopback_relay_that_shall_speak_tls_must() -> None:
    assert relay_address("smtp://127.0.0.1:2525?tls=required").start_tls
    assert not relay_address("smtp://127.0.0.1:2525").start_tls
