"""Nothing of a login or a mail leaves before the relay has proved who it is (TLS 1.2 or newer)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest
from cryptography.hazmat.primitives import serialization
from pydantic import SecretStr

from tests.certificates import Authority, Certificate, self_signed
from tests.fakes import ACCOUNT, ANN, BOB, PATIENCE, World, content
from tests.relay_double import RelayDouble, Script
from undosend.app import running
from undosend.checkup import check
from undosend.domain.clock import ManualClock
from undosend.domain.email import State
from undosend.domain.errors import Misconfigured
from undosend.domain.holding import Timing
from undosend.domain.submission import Submission
from undosend.relay.smtp import Patience, SmtpRelay
from undosend.relay.starttls import Ear
from undosend.relay.tls import tls_context
from undosend.relay.trouble import reason
from undosend.relay.url import relay_address
from undosend.settings import Settings

USER, PASSWORD = "postmaster-login", "s3cr3t-w0rd"
WELCOME = "235 2.7.0 welcome"
SECURED = relay_address("smtps://127.0.0.1")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def ca_file(authority: Authority, tmp_path: Path) -> str:
    return written(tmp_path / "ca.pem", authority.pem)


def written(path: Path, *content: bytes) -> str:
    path.write_bytes(b"".join(content))
    return str(path)


@dataclass
class Tap:
    """Stands before a server and keeps every octet that its clients send."""

    behind: RelayDouble
    octets: bytearray = field(default_factory=bytearray)

    async def __aenter__(self) -> Self:
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        async with asyncio.timeout(PATIENCE):
            await self._tasks.__aexit__(None, None, None)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inward, outward = await asyncio.open_connection("127.0.0.1", self.behind.port)
        self._tasks.create_task(self._carry(reader, outward, self.octets))
        self._tasks.create_task(self._carry(inward, writer, bytearray()))

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, kept: bytearray
    ) -> None:
        with contextlib.suppress(OSError):
            while octets := await source.read(2**16):
                kept += octets
                target.write(octets)
        target.close()
        with contextlib.suppress(OSError):
            await target.wait_closed()


@dataclass(frozen=True)
class Bad:
    """A relay that must not be trusted, and a word of what is told of it."""

    told: str
    certificate: Callable[[Authority], Certificate]
    script: Script = field(default_factory=Script)
    old: bool = False

    def context(self, authority: Authority) -> ssl.SSLContext:
        """Return what the relay has for TLS."""
        context = self.certificate(authority).server_context()
        return stuck_in_the_past(context) if self.old else context


def stuck_in_the_past(context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def good(authority: Authority) -> Certificate:
    return authority.issue("127.0.0.1")


UNTRUSTED = {
    "self-signed": Bad("--relay-ca-file", lambda _: self_signed("127.0.0.1")),
    "unknown authority": Bad("--relay-ca-file", lambda _: Authority().issue("127.0.0.1")),
    "wrong name": Bad("127.0.0.1", lambda a: a.issue("localhost", "127.0.0.2", "relay.test")),
    "expired": Bad("expired", lambda a: a.issue("127.0.0.1", expired=True)),
    "TLS 1.1": Bad("hung up", good, old=True),
}
TAMPERED = {
    "hidden": Bad("offers no STARTTLS", good, Script(starttls_hidden=True)),
    "refused": Bad("(454)", good, Script(starttls="454 4.7.0 not now")),
    "never heard of": Bad("offers no STARTTLS", good, Script(ehlo="502 5.5.1 unknown")),
    "reply injected": Bad("behind the reply", good, Script(injected=b"250 EVIL\r\n")),
    "EHLO injected": Bad(
        "behind the reply", good, Script(injected=b"250-relay.test\r\n250 AUTH PLAIN\r\n")
    ),
    "half a reply injected": Bad("behind the reply", good, Script(injected=b"250")),
    "line end injected": Bad("behind the reply", good, Script(injected=b"\r\n")),
    "login injected": Bad("behind the reply", good, Script(injected=WELCOME.encode() + b"\r\n")),
    "answered before asked": Bad(
        "more than it was asked",
        good,
        Script(ehlo="250-relay.test\r\n250 STARTTLS\r\n220 2.0.0 go ahead"),
    ),
    "in the clear": Bad("relay", good, Script(handshake="250 this is no TLS")),
}
BAD = [
    *(
        pytest.param(bad, implicit, id=f"{name}-{'implicit' if implicit else 'starttls'}")
        for name, bad in UNTRUSTED.items()
        for implicit in (False, True)
    ),
    *(pytest.param(bad, False, id=name) for name, bad in TAMPERED.items()),
]


@asynccontextmanager
async def bad_relay(
    bad: Bad, authority: Authority, ca_file: str, clock: ManualClock, *, implicit: bool
) -> AsyncIterator[tuple[RelayDouble, Tap, SmtpRelay]]:
    """Give a relay as `undosend serve` would make it, and what it talks to; both offer AUTH."""
    tls = bad.context(authority)
    script = Script(**{**vars(bad.script), "tls": None if implicit else tls, "auth": WELCOME})
    async with (
        RelayDouble(script, implicit_tls=tls if implicit else None) as double,
        Tap(double) as tap,
    ):
        scheme = "smtps" if implicit else "smtp"
        address = relay_address(f"{scheme}://{USER}:{PASSWORD}@127.0.0.1:{tap.port}")
        relay = SmtpRelay(
            address,
            clock=clock,
            patience=Patience(PATIENCE, PATIENCE),
            tls=tls_context(address, Settings(relay_ca_file=ca_file)),
        )
        try:
            yield double, tap, relay
        finally:
            await relay.close()


def secrets_in_any_form() -> list[bytes]:
    plain = f"\0{USER}\0{PASSWORD}".encode()
    coded = [base64.b64encode(one.encode()) for one in (USER, PASSWORD)]
    return [USER.encode(), PASSWORD.encode(), base64.b64encode(plain), *coded]


@pytest.mark.parametrize(("bad", "implicit"), BAD)
async def test_bad_relay_is_told_nothing_and_the_mail_waits_and_can_be_undone(
    world: World, authority: Authority, ca_file: str, bad: Bad, *, implicit: bool
) -> None:
    async with bad_relay(bad, authority, ca_file, world.clock, implicit=implicit) as (
        double,
        tap,
        relay,
    ):
        world.connect(relay)
        email = await world.submit()

        for _ in range(5):
            assert not relay.breaker_open
            await world.look()
            world.clock.advance(11)

        row = await world.row(email)
        assert (row.state, row.attempts, row.uncertain) == (State.RETRYING, 0, 0)
        assert row.trouble is not None
        assert bad.told in row.trouble
        for secret in (USER, PASSWORD, ANN, BOB, "@", "_ssl.c"):
            assert secret not in row.trouble
        assert relay.breaker_open
        assert relay.room() == 0
        await world.outbox.undo(ACCOUNT, email.row.id)
        assert (await world.row(email)).state is State.DRAFT

    verbs = {line.partition(" ")[0] for lines in double.commands for line in lines}
    assert verbs <= {"EHLO", "HELO", "STARTTLS"}
    assert (double.auth_lines, double.ledger) == ([], [])
    assert tap.octets, "nobody called"
    for word in (b"AUTH", b"MAIL", b"RCPT", *secrets_in_any_form(), ANN.encode(), BOB.encode()):
        assert word not in tap.octets


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_relay_that_proves_its_name_or_address_gets_the_login_and_the_mail(
    world: World, authority: Authority, ca_file: str, host: str, *, implicit: bool
) -> None:
    tls = authority.issue(host).server_context()
    script = Script(tls=None if implicit else tls, auth=WELCOME)
    async with RelayDouble(script, implicit_tls=tls if implicit else None) as double:
        scheme = "smtps" if implicit else "smtp"
        address = relay_address(f"{scheme}://{USER}:{PASSWORD}@{host}:{double.port}")
        context = tls_context(address, Settings(relay_ca_file=ca_file))
        relay = SmtpRelay(address, clock=world.clock, tls=context)
        world.connect(relay)
        email = await world.submit()

        await world.look()

        assert (await world.row(email)).state is State.SENT
        await relay.close()
        before = ["EHLO"] if implicit else ["EHLO", "STARTTLS", "EHLO"]
        verbs = [line.partition(" ")[0] for line in double.commands[0]]
        assert verbs == [*before, "AUTH", "MAIL", "RCPT", "DATA", "QUIT"]
        assert all(line.tls for line in double.auth_lines)


async def test_a_relay_of_ones_own_is_trusted_by_its_own_certificate(tmp_path: Path) -> None:
    certificate = self_signed("127.0.0.1")
    trusted = written(tmp_path / "relay.pem", certificate.certificate)

    assert await trouble_with(certificate.server_context(), relay_ca_file=trusted) is None


async def test_a_ca_file_takes_the_place_of_the_systems_authorities(ca_file: str) -> None:
    context = tls_context(SECURED, Settings(relay_ca_file=ca_file))

    assert context is not None
    assert context.cert_store_stats()["x509"] == len(context.get_ca_certs()) == 1


async def trouble_with(server: ssl.SSLContext, **files: str) -> str | None:
    """Return what `undosend check` would tell of a relay with TLS throughout."""
    async with RelayDouble(implicit_tls=server) as double:
        return await trouble_at(double.port, **files)


async def trouble_at(port: int, **files: str) -> str | None:
    address = relay_address(f"smtps://127.0.0.1:{port}")
    context = tls_context(address, Settings(**files))  # type: ignore[arg-type] # by name
    relay = SmtpRelay(
        address, clock=ManualClock(), patience=Patience(PATIENCE, PATIENCE), tls=context
    )
    trouble = await relay.probe()
    await relay.close()
    return trouble


# A certificate of our own.


def asking(authority: Authority) -> ssl.SSLContext:
    """Return the context of a relay that wants to see a certificate of the authority."""
    context = authority.issue("127.0.0.1").server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.pem.decode())
    return context


@pytest.mark.parametrize("together", [False, True])
async def test_a_relay_that_asks_is_shown_our_certificate(
    authority: Authority, ca_file: str, tmp_path: Path, *, together: bool
) -> None:
    ours = authority.issue("undosend.test")
    if together:
        pair = written(tmp_path / "both.pem", ours.key, ours.certificate)
        files = {"relay_client_cert_file": pair}
    else:
        certificate, key = map(str, ours.write(tmp_path))
        files = {"relay_client_cert_file": certificate, "relay_client_key_file": key}

    assert await trouble_with(asking(authority), relay_ca_file=ca_file, **files) is None


async def test_our_certificate_is_the_one_that_the_relay_sees(
    authority: Authority, ca_file: str, tmp_path: Path
) -> None:
    certificate, key = map(str, authority.issue("undosend.test").write(tmp_path))
    seen: list[object] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peercert")["subjectAltName"])
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=asking(authority))
    async with server:
        address = relay_address(f"smtps://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        files = Settings(
            relay_ca_file=ca_file, relay_client_cert_file=certificate, relay_client_key_file=key
        )
        relay = SmtpRelay(address, clock=ManualClock(), tls=tls_context(address, files))
        await relay.probe()

    assert seen == [(("DNS", "undosend.test"),)]


@asynccontextmanager
async def refusing(server: ssl.SSLContext) -> AsyncIterator[int]:
    """Serve one handshake and say why it fails, as OpenSSL does and asyncio's servers do not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.to_thread(refuse, listener, server))
            yield listener.getsockname()[1]


def refuse(listener: socket.socket, server: ssl.SSLContext) -> None:
    peer, _ = listener.accept()
    peer.settimeout(PATIENCE)
    line = server.wrap_socket(peer, server_side=True, do_handshake_on_connect=False)
    with pytest.raises(ssl.SSLError):
        line.do_handshake()
    with socket.socket(fileno=line.detach()) as raw:
        raw.settimeout(PATIENCE)
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(2**16):  # to close before all is read would take back what was said
            pass


@pytest.mark.parametrize("known", [False, True])
async def test_a_relay_that_does_not_accept_our_certificate_is_told_of_with_the_option(
    authority: Authority, ca_file: str, tmp_path: Path, *, known: bool
) -> None:
    files = {"relay_ca_file": ca_file}
    if known:
        certificate, key = map(str, Authority().issue("undosend.test").write(tmp_path))
        files |= {"relay_client_cert_file": certificate, "relay_client_key_file": key}

    async with refusing(asking(authority)) as port:
        trouble = await trouble_at(port, **files)

    assert trouble is not None
    assert "--relay-client-cert-file" in trouble


async def test_an_old_relay_that_says_so_is_told_of(authority: Authority, ca_file: str) -> None:
    old = stuck_in_the_past(good(authority).server_context())

    async with refusing(old) as port:
        trouble = await trouble_at(port, relay_ca_file=ca_file)

    assert trouble == "TLS with the relay failed: it speaks nothing newer than TLS 1.1."


@pytest.mark.parametrize("minor", [0, 1, 2])
async def test_an_old_relay_that_just_goes_on_in_its_version_is_left(
    ca_file: str, minor: int
) -> None:
    """SSL 3.0, TLS 1.0 and 1.1 by hand (RFC 5246 §7.4.1.3): no OpenSSL of today speaks them all."""
    version = bytes([3, minor])
    hello = version + bytes(32) + b"\0" + b"\xc0\x13" + b"\0"
    message = b"\x02" + len(hello).to_bytes(3) + hello
    heard: list[bytes] = []
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(2**16))
        writer.write(b"\x16" + version + len(message).to_bytes(2) + message)
        with contextlib.suppress(OSError):
            heard.append(await reader.read(2**16))
        writer.close()
        over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        trouble = await trouble_at(server.sockets[0].getsockname()[1], relay_ca_file=ca_file)
        await asyncio.wait_for(over.wait(), PATIENCE)

    assert trouble == "TLS with the relay failed: it speaks nothing newer than TLS 1.1."
    assert heard[0].startswith(b"\x16\x03"), "that is a ClientHello"
    assert b"".join(heard[1:])[:1] in (b"", b"\x15"), "that is an alert, or nothing"


# What the context says.


@pytest.mark.parametrize("own", [False, True])
def test_certificate_and_name_are_verified_and_tls_is_new(ca_file: str, *, own: bool) -> None:
    context = tls_context(SECURED, Settings(relay_ca_file=ca_file if own else None))

    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_old_tls_is_refused_by_its_version_and_not_by_its_ciphers_alone(
    authority: Authority, ca_file: str
) -> None:
    server = stuck_in_the_past(good(authority).server_context())
    naive = authority.client_context()
    naive.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        naive.minimum_version = ssl.TLSVersion.TLSv1
    assert shaken(naive, server) == "TLSv1.1"  # so it is no fault of the server's

    ours = tls_context(SECURED, Settings(relay_ca_file=ca_file))
    assert ours is not None
    ours.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        shaken(ours, server)


def shaken(client: ssl.SSLContext, server: ssl.SSLContext) -> str | None:
    """Return the version that the two agree on."""
    inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(inward, outward, server_hostname="127.0.0.1")
    theirs = server.wrap_bio(outward, inward, server_side=True)
    for _ in range(3):
        for end in (ours, theirs):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return ours.version()


@pytest.mark.parametrize("url", ["smtp://127.0.0.1:25", "smtp://mail.test?tls=off"])
def test_a_relay_in_the_clear_has_no_context(url: str) -> None:
    assert tls_context(relay_address(url)) is None


# What an operator may get wrong.


def refusal(url: str = "smtps://mail.test", **files: str) -> str:
    with pytest.raises(Misconfigured) as refused:
        tls_context(relay_address(url), Settings(**files))  # type: ignore[arg-type] # by name
    told = str(refused.value)
    assert "\n" not in told
    assert "-----" not in told
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
    return told


@pytest.mark.parametrize("name", ["relay_ca_file", "relay_client_cert_file"])
@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "holds no certificate"),
        (b"hello", "holds no certificate"),
        (b"\x30\x82\x00\x01\xff", "holds no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate"),
    ],
)
def test_a_file_without_a_certificate_is_named_with_its_option(
    authority: Authority, tmp_path: Path, name: str, content: bytes | None, fault: str
) -> None:
    path, key = tmp_path / "file.pem", authority.issue("a.test").key
    if content is not None:
        written(path, content, b"" if name == "relay_ca_file" else key)

    told = refusal(**{name: str(path)})

    assert told.startswith(f"--{name.replace('_', '-')} names {path}, which ")
    assert fault in told


@pytest.mark.parametrize(
    "name", ["relay_ca_file", "relay_client_cert_file", "relay_client_key_file"]
)
@pytest.mark.parametrize("what", ["directory", "pipe", "missing", "missing folder", "too long"])
def test_what_is_no_file_is_named_with_its_option(
    authority: Authority, tmp_path: Path, name: str, what: str
) -> None:
    path = tmp_path / ("x" * 300 if what == "too long" else "it")
    match what:
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "missing folder":
            path = path / "it"
    files = {name: str(path)}
    if name == "relay_client_key_file":
        files["relay_client_cert_file"] = str(authority.issue("a.test").write(tmp_path)[0])

    assert refusal(**files).startswith(f"--{name.replace('_', '-')} names {path}, which ")


def test_a_key_in_place_of_the_authorities_is_refused(authority: Authority, tmp_path: Path) -> None:
    _, key = authority.issue("a.test").write(tmp_path)

    assert "holds no certificate" in refusal(relay_ca_file=str(key))


def test_a_list_of_revoked_certificates_is_no_authority(
    authority: Authority, tmp_path: Path
) -> None:
    crl = written(tmp_path / "crl.pem", authority.revocation_list())

    assert "holds no certificate" in refusal(relay_ca_file=crl)


def encrypted(certificate: Certificate) -> bytes:
    key = serialization.load_pem_private_key(certificate.key, None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(PASSWORD.encode()),
    )


def encrypted_in_the_old_way(certificate: Certificate) -> bytes:
    key = serialization.load_pem_private_key(certificate.key, None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(PASSWORD.encode()),
    )


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("how", [encrypted, encrypted_in_the_old_way])
def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(
    authority: Authority, tmp_path: Path, how: Callable[[Certificate], bytes], *, together: bool
) -> None:
    ours = authority.issue("a.test")
    key = written(tmp_path / "key.pem", how(ours))
    certificate = written(tmp_path / "cert.pem", ours.certificate)
    both = written(tmp_path / "both.pem", ours.certificate, how(ours))

    if together:
        told = refusal(relay_client_cert_file=both)
    else:
        told = refusal(relay_client_cert_file=certificate, relay_client_key_file=key)

    option, path = ("cert", both) if together else ("key", key)
    assert told.startswith(f"--relay-client-{option}-file names {path}, which holds an encrypted")
    assert "openssl pkey" in told


def test_a_key_that_does_not_fit_is_refused(authority: Authority, tmp_path: Path) -> None:
    certificate = written(tmp_path / "cert.pem", authority.issue("a.test").certificate)
    key = written(tmp_path / "key.pem", authority.issue("b.test").key)

    told = refusal(relay_client_cert_file=certificate, relay_client_key_file=key)

    assert told.startswith(f"--relay-client-key-file names {key}, which holds a key that does not")
    assert certificate in told


def test_a_certificate_without_its_key_is_told_where_to_name_that(
    authority: Authority, tmp_path: Path
) -> None:
    certificate = written(tmp_path / "cert.pem", authority.issue("a.test").certificate)

    assert "--relay-client-key-file" in refusal(relay_client_cert_file=certificate)


def test_a_key_file_that_holds_a_certificate_is_refused(
    authority: Authority, tmp_path: Path
) -> None:
    certificate = written(tmp_path / "cert.pem", authority.issue("a.test").certificate)

    told = refusal(relay_client_cert_file=certificate, relay_client_key_file=certificate)

    assert told.startswith(f"--relay-client-key-file names {certificate}, which holds no private")


def test_a_key_without_a_certificate_is_refused(authority: Authority, tmp_path: Path) -> None:
    _, key = authority.issue("a.test").write(tmp_path)

    told = refusal(relay_client_key_file=str(key))

    assert told.startswith("--relay-client-key-file is given without a certificate")
    assert "--relay-client-cert-file" in told


@pytest.mark.parametrize("url", ["smtp://127.0.0.1:25", "smtp://mail.test?tls=off"])
@pytest.mark.parametrize(
    "name", ["relay_ca_file", "relay_client_cert_file", "relay_client_key_file"]
)
def test_files_for_a_relay_in_the_clear_are_refused(ca_file: str, url: str, name: str) -> None:
    told = refusal(url, **{name: ca_file})

    assert told.startswith(f"--{name.replace('_', '-')} is given, but ")
    assert "?tls=required" in told


@pytest.mark.parametrize("url", ["smtps://127.0.0.1:1", "smtp://127.0.0.1:1?tls=required"])
async def test_start_and_check_refuse_a_file_in_the_same_words(tmp_path: Path, url: str) -> None:
    settings = Settings(
        database_url=f"sqlite:///{tmp_path}/undosend.db",
        relay_url=SecretStr(url),
        relay_ca_file=str(tmp_path / "none.pem"),
        port=0,
        metrics_port=0,
    )

    [finding] = [one for one in await check(settings) if one.name == "relay"]
    with pytest.raises(Misconfigured) as refused:
        async with running(settings):
            pass

    assert not finding.ok
    assert finding.detail == str(refused.value)
    assert finding.detail.startswith(f"--relay-ca-file names {tmp_path}/none.pem, which cannot")


async def test_check_and_the_running_service_trust_the_ca_file_and_nobody_else(
    authority: Authority, ca_file: str, tmp_path: Path
) -> None:
    tls = authority.issue("127.0.0.1").server_context()
    async with RelayDouble(Script(tls=tls, auth=WELCOME)) as double:
        settings = Settings(
            database_url=f"sqlite:///{tmp_path}/undosend.db",
            relay_url=SecretStr(f"smtp://{USER}:{PASSWORD}@127.0.0.1:{double.port}"),
        )
        [distrusted] = [one for one in await check(settings) if one.name == "relay"]
        assert not distrusted.ok
        assert "--relay-ca-file" in distrusted.detail
        assert double.auth_lines == []

        own = settings.model_copy(update={"relay_ca_file": ca_file, "port": 0, "metrics_port": 0})
        [trusted] = [one for one in await check(own) if one.name == "relay"]
        assert trusted.ok
        async with running(own) as service:
            timing = Timing(delay_seconds=0)
            await service.outbox.submit(ACCOUNT, Submission(content(), timing=timing))
            await double.accepted()

        assert all(line.tls for line in double.auth_lines)


# What is heard behind the reply to STARTTLS.


@pytest.mark.parametrize(
    ("heard", "well"),
    [
        ([b"220 go\r\n"], True),
        ([b"220\r\n"], True),
        ([b"22", b"0 go\r", b"\n"], True),
        ([b"220-now\r\n220 go\r\n"], True),
        ([], False),
        ([b"220-now\r\n"], False),
        ([b"220 go\r\n", b"250 evil\r\n"], False),
        ([b"220 go\r\n", b"\x16"], False),
        ([b"220 go\r\n220 go\r\n"], False),
        ([b"220 go\r\n\r\n"], False),
        ([b"220 go\n220-evil\n"], False),
    ],
)
async def test_one_reply_is_told_from_more_wherever_it_is_cut(
    heard: list[bytes], *, well: bool
) -> None:
    class Library(asyncio.Protocol):
        received = b""

        def data_received(self, data: bytes) -> None:
            self.received += data

    library = Library()
    ear = Ear(library)  # type: ignore[arg-type] # all that is asked of it
    for octets in heard:
        ear.data_received(octets)

    assert ear.heard_one_reply is well
    assert library.received == b"".join(heard)


@pytest.mark.parametrize("fault", ["SOMETHING_NEW", None])
def test_a_fault_of_tls_that_nobody_foresaw_is_told_without_the_librarys_lines(
    fault: str | None,
) -> None:
    error = ssl.SSLError(1, "[SSL] it (_ssl.c:1006)")
    error.reason = fault  # type: ignore[assignment] # as OpenSSL leaves it where it has no word

    told = reason(error)

    assert told.startswith("TLS with the relay failed: ")
    assert "_ssl.c" not in told
