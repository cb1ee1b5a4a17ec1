"""The one place where it is decided whom a relay must prove to be, and how we prove who we are.

Files are judged when the service starts, not when the first email is due.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NoReturn, Protocol

from undosend.domain.errors import Misconfigured
from undosend.relay.url import RelayAddress

_CA, _CERTIFICATE, _KEY = "--relay-ca-file", "--relay-client-cert-file", "--relay-client-key-file"
_NOT_A_PAIR = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH")


class TlsFiles(Protocol):
    """What an operator chose: names of PEM files, or nothing. ``Settings`` is one."""

    @property
    def relay_ca_file(self) -> str | None:
        """Return the file of the only authorities to trust; None for the system's."""

    @property
    def relay_client_cert_file(self) -> str | None:
        """Return the file of the certificate that the relay is shown, with its chain."""

    @property
    def relay_client_key_file(self) -> str | None:
        """Return the file of its key; None where that is in the same file."""


def tls_context(address: RelayAddress, files: TlsFiles | None = None) -> ssl.SSLContext | None:
    """Return how to speak TLS to the relay; None for one that is spoken to in the clear.

    Its certificate and its name are verified, and nothing older than TLS 1.2 is spoken.

    Raises:
        Misconfigured: a file is not what it should be, or would not be used.
    """
    ca = files.relay_ca_file if files else None
    certificate = files.relay_client_cert_file if files else None
    key = files.relay_client_key_file if files else None
    chosen = ((_CA, ca), (_CERTIFICATE, certificate), (_KEY, key))
    if not address.secured:
        _need_none(address, [option for option, path in chosen if path])
        return None
    if key and not certificate:
        raise Misconfigured(
            f"{_KEY} is given without a certificate: name that with {_CERTIFICATE}, or drop both."
        )
    context = _trusting(ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # whatever Python's build or openssl.cnf says
    if certificate:
        _present(context, certificate, key)
    return context


def _need_none(address: RelayAddress, options: list[str]) -> None:
    if options:
        raise Misconfigured(
            f"{options[0]} is given, but the relay at {address.host} is spoken to without TLS: "
            "end the relay URL in ?tls=required (or write smtps://), or drop the option."
        )


def _trusting(ca: str | None) -> ssl.SSLContext:
    """Return a context that verifies everything, and trusts these alone where there are any."""
    if ca:
        _content(_CA, ca)
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        _unfit(_CA, ca, "holds no certificate, or a broken one", "write them into it as PEM")
    if ca and not context.cert_store_stats()["x509"]:  # revocation lists are no certificates
        _unfit(_CA, ca, "holds no certificate", "write them into it as PEM")
    return context


def _present(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    """Let the context show the certificate to a relay that asks for one."""
    if b"CERTIFICATE-----" not in _content(_CERTIFICATE, certificate):
        _unfit(_CERTIFICATE, certificate, "holds no certificate", "write it into it as PEM")
    option, path = (_KEY, key) if key else (_CERTIFICATE, certificate)
    if b"PRIVATE KEY-----" not in _content(option, path):
        _unfit(option, path, "holds no private key", f"add it as PEM, or name its file with {_KEY}")
    try:
        context.load_cert_chain(certificate, key, password=_nobody_knows)
    except _Encrypted:
        _unfit(
            option, path, "holds an encrypted key", "decrypt it with `openssl pkey -in … -out …`"
        )
    except ssl.SSLError as error:
        if error.reason in _NOT_A_PAIR:
            fault = f"holds a key that does not fit the certificate in {certificate}"
            _unfit(option, path, fault, "name the two files that belong together")
        fault = "holds, or has beside it, what is no certificate with its key"
        _unfit(_CERTIFICATE, certificate, fault, "write them anew as PEM")


class _Encrypted(Exception):
    """The key needs a password, for which OpenSSL would ask at the terminal."""


def _nobody_knows() -> NoReturn:
    raise _Encrypted


def _content(option: str, path: str) -> bytes:
    try:
        if Path(path).exists() and not Path(path).is_file():  # a pipe would keep us waiting
            _unfit(option, path, "is no file", "name a PEM file")
        return Path(path).read_bytes()
    except OSError as error:
        fault = f"cannot be read ({error.strerror})"
        _unfit(option, path, fault, "put the file there, or let the service's user read it")


def _unfit(option: str, path: str | None, fault: str, remedy: str) -> NoReturn:
    raise Misconfigured(f"{option} names {path}, which {fault}: {remedy}.") from None
