"""Mailboxes from text: one strict grammar, and one form of each address.

A domain is brought into its canonical form once (lower case, A-labels), that form is checked, and
only that form is kept: whatever looks at an ``Address`` later sees what SMTP will send.
RFC 5321 §4.1.2 is the grammar, less what has only ever helped attackers: quoted local parts,
source routes in disguise (``%``, ``!``), address literals, comments, groups and encoded words.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NoReturn

import idna
from email_validator import EmailSyntaxError, validate_email

from undosend.domain.email import Address

NAME_LIMIT = 320
"""Characters in a display name."""

UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls, line and paragraph separators, surrogates, and what turns the reading direction."""

_LOCAL_LIMIT = 64  # octets, RFC 5321 §4.5.3.1.1
_PATH_LIMIT = 254  # octets, RFC 5321 §4.5.3.1.3: 256 less the angle brackets
_DOMAIN_LIMIT = 253  # octets, RFC 1035 §2.3.4 without the root label
_LABEL_LIMIT = 63
_DOMAIN_TOO_LONG = (
    f"The part after the @ may have {_DOMAIN_LIMIT} characters, {_LABEL_LIMIT} between full stops."
)
_TEXT_LIMIT = 2 * NAME_LIMIT + _PATH_LIMIT + 16  # a name may be all escapes

_ATEXT = r"[A-Za-z0-9#$&'*+/=?^_`{|}~-]"  # RFC 5322 §3.2.3 without % and !
_LOCAL = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_TOP_LEVEL = re.compile(r"[a-z][a-z0-9-]*")
_SPECIALS = r'"(),:;<>@\[\\\]'
_NAMED = re.compile(
    r'(?:"(?P<quoted>(?:[^"\\]|\\.)+)"'
    # A full stop may stand in a bare name, as it does in every "J. Smith" (RFC 5322 §4.1).
    rf"|(?P<bare>[^ {_SPECIALS}](?:[^{_SPECIALS}]*[^ {_SPECIALS}])?))"
    r" *<(?P<email>[^<>]*)>",
    re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class AddressError(ValueError):
    """The text is no mailbox that this service takes.

    ``code`` is one of invalid_address, unsupported_address, too_long, smtputf8_not_enabled and,
    for the name, invalid_header_value and invalid_text. The text is a sentence for people.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def mailbox(email: str, name: str = "") -> Address:
    """Return the mailbox with the address in its canonical form; nothing is trimmed or decoded."""
    local, _, domain = email.rpartition("@")
    if not _LOCAL.fullmatch(local) or "=?" in local:
        _refuse_local(local, domain)
    if len(local) > _LOCAL_LIMIT:
        raise AddressError(
            "too_long", f"The part before the @ may have {_LOCAL_LIMIT} characters at most."
        )
    if len(domain) > _DOMAIN_LIMIT:
        raise AddressError("too_long", _DOMAIN_TOO_LONG)
    canonical = f"{local}@{_canonical(domain)}"
    if len(canonical) > _PATH_LIMIT:
        raise AddressError("too_long", f"An address may have {_PATH_LIMIT} characters at most.")
    if name:
        _check_name(name)
    return Address(canonical, name)


def domain_of(text: str) -> str:
    """Return the domain in its canonical form.

    Raises:
        AddressError: it is none that an address could have.
    """
    if len(text) > _DOMAIN_LIMIT:
        raise AddressError("too_long", f"A domain may have {_DOMAIN_LIMIT} characters at most.")
    try:
        return _canonical(text)
    except AddressError as error:
        if error.code != "invalid_address":
            raise
        detail = "This is no domain name of mail, like example.com, and no address."
        raise AddressError(error.code, detail) from error


def parse(text: str) -> Address:
    """Return the one mailbox in ``ann@b.c``, ``Ann Lee <ann@b.c>`` or ``"Lee, Ann" <ann@b.c>``."""
    if not text.endswith(">"):
        return mailbox(text)
    if len(text) > _TEXT_LIMIT:
        raise AddressError("too_long", f"A mailbox may have {_TEXT_LIMIT} characters at most.")
    match = _NAMED.fullmatch(text)
    if match is None:
        raise AddressError(
            "invalid_address",
            "Write ann@example.com, or Ann Lee <ann@example.com>: one address, with the name in "
            'double quotes if it has any of "(),:;<>@[\\] in it.',
        )
    quoted, bare, email = match.groups()
    return mailbox(email, bare if bare is not None else _ESCAPED.sub(r"\1", quoted))


def line_code(unfit: str) -> str:
    """Return the error code for a character that cannot stand in a header line.

    NUL and lone surrogates are no text at all, anywhere; the others would end or disguise a line.
    """
    return "invalid_text" if unfit == "\0" or unfit >= "\ud800" else "invalid_header_value"


def _check_name(name: str) -> None:
    if len(name) > NAME_LIMIT:
        raise AddressError("too_long", f"A name may have {NAME_LIMIT} characters at most.")
    if found := UNFIT.search(name):
        raise AddressError(
            line_code(found[0]),
            f"The name holds the character U+{ord(found[0]):04X}; names are one line of plain "
            "text without control characters.",
        )


def _refuse_local(local: str, domain: str) -> NoReturn:
    """Say what is wrong with a local part (or with the lack of one)."""
    if not local or not domain:
        raise AddressError(
            "invalid_address", "An address is one name, one @ and one domain: ann@example.com."
        )
    if local.startswith('"'):
        raise AddressError("unsupported_address", "Quoted local parts are not supported.")
    plain = local.replace("%", "").replace("!", "").replace("=?", "")
    if plain != local and (not plain or _LOCAL.fullmatch(plain)):
        raise AddressError(
            "unsupported_address", "The part before the @ may not hold %, ! or an encoded word."
        )
    if not local.isascii() and all(_wordlike(character) for character in local):
        raise AddressError(
            "smtputf8_not_enabled",
            "The part before the @ is not ASCII, and the relay does not take SMTPUTF8 (RFC 6531).",
        )
    raise AddressError(
        "invalid_address",
        "The part before the @ holds a character, a space or a full stop that cannot stand there.",
    )


def _wordlike(character: str) -> bool:
    if character.isascii():
        return character == "." or _LOCAL.fullmatch(character) is not None
    return unicodedata.category(character)[0] in "LMN"


@lru_cache(maxsize=4096)
def _canonical(domain: str) -> str:
    """Return the domain in lower-case A-labels (RFC 5890); keys are at most 253 characters long."""
    if domain.startswith("["):
        raise AddressError("unsupported_address", "An IP address cannot stand for a domain here.")
    encoded = domain.lower() if domain.isascii() else _a_labels(domain)
    if max(map(len, encoded.split("."))) > _LABEL_LIMIT or len(encoded) > _DOMAIN_LIMIT:
        raise AddressError("too_long", _DOMAIN_TOO_LONG)
    try:
        # "x" stands in for the local part, so that the cache serves everyone at the domain.
        checked = validate_email(f"x@{encoded}", check_deliverability=False, test_environment=True)
    except EmailSyntaxError as error:
        raise AddressError("invalid_address", str(error)) from error
    # email-validator asks for a letter at the end only, which lets 127.0.0.0xa through, and takes
    # a bare "test". It must also have left the domain as it was: a form it changed is not ours.
    _, dot, top_level = encoded.rpartition(".")
    if checked.ascii_domain != encoded or not dot or not _TOP_LEVEL.fullmatch(top_level):
        raise AddressError("invalid_address", "The part after the @ is not a domain name.")
    return encoded


def _a_labels(domain: str) -> str:
    """Return the IDNA 2008 A-labels of an internationalised domain (RFC 5891 §4).

    Only case and normalisation form C are ours to change. What merely looks like ASCII or like
    a full stop (U+FF20, U+212A, U+3002) is refused, where UTS 46 would fold it.
    """
    if any(map(_folds_to_ascii, domain)):
        raise AddressError(
            "invalid_address", "The part after the @ holds a look-alike of an ASCII character."
        )
    # Letter by letter: lower() of a whole word turns a last capital sigma into another letter.
    folded = unicodedata.normalize("NFC", "".join(map(str.lower, domain)))
    try:
        return idna.encode(folded, strict=True, std3_rules=True).decode("ascii")
    except idna.IDNAError as error:
        if "too long" in str(error):
            raise AddressError("too_long", _DOMAIN_TOO_LONG) from error
        raise AddressError(
            "invalid_address", "The part after the @ is no domain name by IDNA 2008 (RFC 5891)."
        ) from error


def _folds_to_ascii(character: str) -> bool:
    if character.isascii():
        return False
    return any(map(str.isascii, unicodedata.normalize("NFKC", character.lower())))


def displayed(email: str) -> str:
    """Return the address with its domain as people write it (RFC 5890 §2.3.2.1)."""
    local, _, domain = email.rpartition("@")
    try:
        return f"{local}@{idna.decode(domain)}"
    except idna.IDNAError:
        return email


def written(address: Address) -> str:
    """Return the mailbox as text that ``parse`` reads back as the same mailbox."""
    if not address.name:
        return address.email
    match = _NAMED.fullmatch(f"{address.name} <{address.email}>")
    if match and match["bare"] == address.name:
        return f"{address.name} <{address.email}>"
    escaped = address.name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{address.email}>'
