"""What can be wrong with a line to a relay, and in which words it is told.

Whatever is told is kept with the email and shown to people: it holds no address, no secret,
and nothing that the relay said.
"""

from __future__ import annotations

import ssl

import aiosmtplib

_TLS_FAULTS = {
    "WRONG_VERSION_NUMBER": "it speaks no TLS on this port (smtps:// is for TLS throughout, "
    "smtp:// for STARTTLS)",
    "UNSUPPORTED_PROTOCOL": "it speaks nothing newer than TLS 1.1",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it speaks nothing newer than TLS 1.1",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate of us: name one with "
    "--relay-client-cert-file",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the certificate of --relay-client-cert-file",
}
_UNKNOWN_AUTHORITY = {18, 19, 20, 21}  # X509_V_ERR_… of OpenSSL's x509_vfy.h


class OutOfTurn(aiosmtplib.SMTPException):
    """The relay answered what nobody asked; its message tells none of the relay's words."""


class Insecure(aiosmtplib.SMTPException):
    """The line is not as safe as it must be; its message tells none of the relay's words."""


def stay_in_step(client: aiosmtplib.SMTP) -> None:
    """Raise where the relay has said more than it was asked.

    The library keeps what it has not read yet, and would take it for the next reply.
    """
    if client.protocol and client.protocol._buffer:  # noqa: SLF001 - nothing public tells
        raise OutOfTurn("The relay said more than it was asked.")


def reason(error: BaseException) -> str:
    """Return what happened to the line, in words that hold no address and no secret."""
    if fault := _fault_of_tls(error):
        error = fault
    match error:
        case OutOfTurn() | Insecure():
            return error.message
        case aiosmtplib.SMTPAuthenticationError():
            return f"The relay refused our login ({error.code}). Check the relay URL's password."
        case aiosmtplib.SMTPResponseException():
            return f"The relay does not want to talk to us ({error.code})."
        case ssl.SSLCertVerificationError():
            return _unverified(error)
        case ssl.SSLError():
            return f"TLS with the relay failed: {_in_words(error)}."
        case aiosmtplib.SMTPTimeoutError() | TimeoutError():
            return "The relay did not answer in time."
        case aiosmtplib.SMTPServerDisconnected() | ConnectionError():
            return f"The relay hung up or cannot be reached: {error}"
        case _:
            return f"The relay cannot be reached: {error}"


def _fault_of_tls(error: BaseException | None) -> ssl.SSLError | None:
    """Return what the library has wrapped, once or twice, as the end of a line."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__
    return error


def _unverified(error: ssl.SSLCertVerificationError) -> str:
    told = f"The relay's certificate is not valid: {error.verify_message.rstrip('.')}."
    if error.verify_code in _UNKNOWN_AUTHORITY:
        told += " If its authority is your own, name that with --relay-ca-file."
    return told


def _in_words(error: ssl.SSLError) -> str:
    fault = error.reason or "the line broke"
    return _TLS_FAULTS.get(fault, fault.lower().replace("_", " "))
