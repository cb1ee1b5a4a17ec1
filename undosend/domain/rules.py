"""What may stand in an email: every rule about content, each with the code the API answers.

Pointers are JSON pointers (RFC 6901) in the API's names. Addresses have a grammar of their own,
in ``addresses``; what a mail needs besides, to be sent, says ``missing``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from undosend.domain import plaintext
from undosend.domain.addresses import AddressError, line_code, mailbox
from undosend.domain.email import Address, Attachment, Content, File
from undosend.domain.errors import FieldError, InvalidEmail, TooLarge

MESSAGE_LIMIT = 25 * 1024 * 1024
"""Octets of a message on the wire."""
FILE_LIMIT = 18 * 1024 * 1024
"""Octets of one attachment: in base64 it fills a message."""
TEXT_LIMIT = 1024 * 1024
"""Octets of ``text`` and of ``html``, each, in UTF-8."""
RECIPIENT_LIMIT = 50
"""Entries of To, Cc and Bcc together, and of Reply-To."""
HEADER_LIMIT = 50
ATTACHMENT_LIMIT = 50
TAG_LIMIT = 50
THREAD_LIMIT = 100
"""Message-IDs in References, and in In-Reply-To."""
VALUE_LIMIT = 998
"""Characters in a subject or a header value."""
FILENAME_LIMIT = 255

HEADER_NAME = re.compile(r"[!-9;-~]{1,64}")
"""RFC 5322 §3.6.8, with a length."""
CONTENT_ID = re.compile(r"[A-Za-z0-9._+@=$~-]{1,128}")
"""What is the same in a Content-ID and in a ``cid:`` URL (RFC 2392), without brackets."""

REFERENCE = re.compile(r"<[!-;=?-~]{1,250}>")
"""A Message-ID that fits a line (RFC 5322 §3.6.4), as others write them: not all have an @."""

_THREADS = frozenset({"in-reply-to", "references"})
_REFERENCES = re.compile(rf"{REFERENCE.pattern}(?: +{REFERENCE.pattern})*")

_RESERVED = re.compile(
    "from|to|cc|bcc|reply-to|subject|date|message-id|return-path|sender|apparently-to|delivered-to"
    "|authentication-results|domainkey-signature|(?:content-|mime-|resent-|dkim-|arc-|received).*",
    re.IGNORECASE | re.ASCII,
)

_RESTRICTED = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"  # RFC 6838 §4.2
_ATTRIBUTE = r"[A-Za-z0-9!#$&+.^_`{|}~-]+"  # RFC 2045 §5.1, less what RFC 2231 §4 gives a meaning
# No = within the quotes: no encoded word, and nothing that looks like another parameter.
_VALUE = rf'(?:{_ATTRIBUTE}|"[ !#-<>-\[\]-~]*")'
CONTENT_TYPE = re.compile(
    rf"(?=.{{1,255}}\Z)(?P<top>{_RESTRICTED})/{_RESTRICTED}(?:; ?{_ATTRIBUTE}={_VALUE})*"
)
"""``type/subtype`` and plain parameters (RFC 2045 §5.1)."""
_PARAMETER = re.compile(rf"; ?({_ATTRIBUTE})=")
_OWN_PARAMETERS = frozenset({"name", "filename", "boundary"})
_COMPOSITE = frozenset({"multipart", "message"})

_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
_STANDS_IN_RAW = (
    "This stands in the raw message; replace that whole, or change its envelope and tags."
)
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_NOT_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_PLAIN = bytes(range(32, 127)) + b"\t\n\r"
# In a file name also what turns the reading direction: "gpj.exe" must not look like "exe.jpg".
_NOT_NAME = re.compile("[/\\\\:\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|clock\$|conin\$|conout\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3]) *(?:\..*)?",
    re.IGNORECASE,
)


def violations(
    content: Content, attachments: Sequence[Attachment], *, known: int = 0
) -> list[FieldError]:
    """Return everything that is wrong with the parts that are there.

    Of a list that is too long, only the entries within the limit are looked at.
    known: so many of the attachments were there, and judged, before; pointers count the others.
    """
    return [
        *_address_errors(content),
        *_line_errors("/subject", content.subject),
        *_text_errors("/text", content.text),
        *_text_errors("/html", content.html),
        *_thread_errors(content),
        *_header_errors(content.headers),
        *_tag_errors(content.tags),
        *_attachment_errors(content, attachments, known),
    ]


def missing(content: Content) -> list[FieldError]:
    """Return what a draft lacks to be sent."""
    lacks = []
    if content.sender is None:
        lacks.append(FieldError("/from", "missing", "Say who sends the email."))
    if not content.rcpt_to:
        lacks.append(FieldError("/to", "no_recipients", "Name a recipient in to, cc or bcc."))
    if content.text is None and content.html is None and content.raw is None:
        lacks.append(FieldError("/text", "no_content", "Give text, html or both."))
    return lacks


def fixed(old: Content, new: Content, files: Sequence[File]) -> list[FieldError]:
    """Return what an edit may not change: of a raw message, all but its envelope and its tags."""
    if old.raw is None:
        return []
    names = ("reply_to", "subject", "text", "html", "headers", "in_reply_to", "references")
    changed = [name for name in names if getattr(new, name) != getattr(old, name)]
    changed += ["attachments"] if files else []
    return [FieldError(f"/{name}", "raw_message", _STANDS_IN_RAW) for name in changed]


def too_large(content: Content, attachments: Sequence[Attachment]) -> TooLarge | None:
    """Return the error for a body or a message over its limit, None where there is none."""
    for name, body in (("text", content.text), ("html", content.html)):
        if body is not None and _octets(body) > TEXT_LIMIT:
            return TooLarge(f"The {name} is over {TEXT_LIMIT} octets in UTF-8.", TEXT_LIMIT)
    if content.raw is None and any(file.size > FILE_LIMIT for file in attachments):
        return _file_too_large()
    if wire_size(content, attachments) > MESSAGE_LIMIT:
        return TooLarge(
            f"The message, with its attachments in base64, is over {MESSAGE_LIMIT} octets.",
            MESSAGE_LIMIT,
        )
    return None


def no_room(
    content: Content, attachments: Sequence[Attachment], size: int
) -> InvalidEmail | TooLarge | None:
    """Return why a file of at least so many octets cannot be attached, None where it may."""
    if content.raw is not None:
        return InvalidEmail([FieldError("/attachments", "raw_message", _STANDS_IN_RAW)])
    if len(attachments) >= ATTACHMENT_LIMIT:
        return InvalidEmail([_too_many("/attachments", "attachments", ATTACHMENT_LIMIT)])
    if size > FILE_LIMIT:
        return _file_too_large()
    if (so_far := wire_size(content, attachments)) + base64_size(size) > MESSAGE_LIMIT:
        detail = f"The message has {so_far} octets, and {MESSAGE_LIMIT} on the wire at most; "
        return TooLarge(f"{detail}this file needs {base64_size(size)} more.", MESSAGE_LIMIT)
    return None


def wire_size(content: Content, attachments: Sequence[Attachment]) -> int:
    """Return octets that the rendered message does not exceed, without rendering it."""
    if content.raw is not None:
        return 512 + sum(file.size for file in attachments)
    people = (content.sender, *content.to, *content.cc, *content.reply_to)
    size = 2048 + _field_size(content.subject)
    size += sum(_field_size(p.name) + len(p.email) for p in people if p is not None)
    size += sum(len(name) + _field_size(value) for name, value in content.headers)
    size += sum(len(name) + 4 for name in (*content.in_reply_to, *content.references))
    size += _text_size(content.text) + _text_size(content.html)
    if content.text is None and content.html is not None:
        size += base64_size(plaintext.GROWTH * _octets(content.html) + 2)
    for file in attachments:
        size += 512 + 5 * _octets(file.filename) + 2 * len(file.content_type)
        size += base64_size(file.size)
    return size


def base64_size(octets: int) -> int:
    """Return the size of so many octets in base64 with lines of 76 and CRLF (RFC 2045 §6.8)."""
    characters = 4 * -(-octets // 3)
    return characters + 2 * -(-characters // 76)


def is_reserved(name: str) -> bool:
    """Tell whether the header is undosend's or a relay's to write; reserved in any case."""
    return _RESERVED.fullmatch(name) is not None


def is_composite(content_type: str) -> bool:
    """Tell whether such a part holds other parts, into which a relay might look."""
    return content_type.partition("/")[0].lower() in _COMPOSITE


def _file_too_large() -> TooLarge:
    return TooLarge(f"An attachment is {FILE_LIMIT} octets at most.", FILE_LIMIT)


def _octets(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _text_size(text: str | None) -> int:
    """Bound a text part: its line ends become CRLF, and mime takes base64 if that is smaller."""
    if text is None:
        return 0
    return base64_size(_octets(text) + text.count("\n") + text.count("\r") + 2)


def _field_size(text: str) -> int:
    # Encoded words take less than 2 octets for one, quoting at most 2; then there are folds.
    return 96 + 3 * _octets(text)


def _address_errors(content: Content) -> Iterator[FieldError]:
    if content.sender is not None:
        yield from _mailbox_errors("/from", content.sender)
    groups = (("/to", content.to), ("/cc", content.cc), ("/bcc", content.bcc))
    if sum(len(group) for _, group in groups) > RECIPIENT_LIMIT:
        yield _too_many("/to", "recipients", RECIPIENT_LIMIT)
    if len(content.reply_to) > RECIPIENT_LIMIT:
        yield _too_many("/reply_to", "recipients", RECIPIENT_LIMIT)
    for pointer, group in (*groups, ("/reply_to", content.reply_to)):
        for index, address in enumerate(group[:RECIPIENT_LIMIT]):
            yield from _mailbox_errors(f"{pointer}/{index}", address)


def _mailbox_errors(pointer: str, address: Address) -> Iterator[FieldError]:
    try:
        canonical = mailbox(address.email, address.name)
    except AddressError as error:
        yield FieldError(pointer, error.code, str(error))
        return
    if canonical != address:
        yield FieldError(pointer, "invalid_address", "The address is not in its canonical form.")


def _line_errors(pointer: str, text: str) -> Iterator[FieldError]:
    """Check what stands in a header: one line, no longer than a line may be."""
    yield from _control_errors(pointer, text)
    if len(text) > VALUE_LIMIT:
        yield FieldError(pointer, "too_long", f"{VALUE_LIMIT} characters are the limit.")


def _control_errors(pointer: str, text: str) -> Iterator[FieldError]:
    if found := _NOT_LINE.search(text):
        yield FieldError(pointer, line_code(found[0]), _found(found, "one line of text"))


def _text_errors(pointer: str, text: str | None) -> Iterator[FieldError]:
    if not text or (text.isascii() and not text.encode().translate(None, _PLAIN)):
        return  # nearly every text, told at a fifth of the expression's price
    if found := _NOT_TEXT.search(text):
        yield FieldError(pointer, "invalid_text", _found(found, "text"))


def _thread_errors(content: Content) -> Iterator[FieldError]:
    fields = {"in_reply_to": content.in_reply_to, "references": content.references}
    for member, ids in fields.items():
        if len(ids) > THREAD_LIMIT:
            yield _too_many(f"/{member}", "message_ids", THREAD_LIMIT)
        for index, id_ in enumerate(ids[:THREAD_LIMIT]):
            if not REFERENCE.fullmatch(id_):
                detail = (
                    "A Message-ID is 1 to 250 ASCII characters in angle brackets, without space."
                )
                yield FieldError(f"/{member}/{index}", "invalid_message_id", detail)
    named = {name.lower() for name, _ in content.headers}
    for member, header in (("in_reply_to", "In-Reply-To"), ("references", "References")):
        if fields[member] and header.lower() in named:
            detail = f"Give {member} or the header {header}, not both."
            yield FieldError(f"/{member}", "duplicate_header", detail)


def _header_errors(headers: Sequence[tuple[str, str]]) -> Iterator[FieldError]:
    if len(headers) > HEADER_LIMIT:
        yield _too_many("/headers", "headers", HEADER_LIMIT)
    seen = set()
    for name, value in headers[:HEADER_LIMIT]:
        pointer = "/headers/" + name.replace("~", "~0").replace("/", "~1")
        if not HEADER_NAME.fullmatch(name):
            detail = "A header name is 1 to 64 printable ASCII characters without colon and space."
            yield FieldError(pointer, "invalid_header_name", detail)
        elif is_reserved(name):
            detail = "This header follows from the email's fields, or is a relay's to write."
            yield FieldError(pointer, "reserved_header", detail)
        elif name.lower() in seen:
            detail = "The header is there twice; case does not count in header names."
            yield FieldError(pointer, "duplicate_header", detail)
        seen.add(name.lower())
        wrong = [*_line_errors(pointer, value)]
        if not wrong and name.lower() in _THREADS and not _REFERENCES.fullmatch(value):
            detail = "This header is Message-IDs in angle brackets, with a space between two."
            wrong.append(FieldError(pointer, "invalid_message_id", detail))
        yield from wrong


def _tag_errors(tags: Sequence[tuple[str, str]]) -> Iterator[FieldError]:
    if len(tags) > TAG_LIMIT:
        yield _too_many("/tags", "tags", TAG_LIMIT)
    for index, (name, value) in enumerate(tags[:TAG_LIMIT]):
        for member, text in (("name", name), ("value", value)):
            if not _TAG.fullmatch(text):
                detail = "A tag is 1 to 256 ASCII letters, digits, underscores and hyphens."
                yield FieldError(f"/tags/{index}/{member}", "invalid_tag", detail)


def _attachment_errors(
    content: Content, attachments: Sequence[Attachment], known: int
) -> Iterator[FieldError]:
    if content.raw is not None:
        return  # the one that there is, is the message, and judged as that
    if len(attachments) > ATTACHMENT_LIMIT:
        yield _too_many("/attachments", "attachments", ATTACHMENT_LIMIT)
    seen = {file.content_id for file in attachments[:known]}
    for index, file in enumerate(attachments[known:ATTACHMENT_LIMIT]):
        pointer = f"/attachments/{index}"
        yield from _filename_errors(f"{pointer}/filename", file.filename)
        yield from _content_type_errors(f"{pointer}/content_type", file.content_type)
        if file.content_id is None:
            continue
        if not CONTENT_ID.fullmatch(file.content_id):
            detail = "A content id is 1 to 128 of A-Z a-z 0-9 . _ + @ = $ ~ -, without brackets."
            yield FieldError(f"{pointer}/content_id", "invalid_content_id", detail)
        elif file.content_id in seen:
            detail = "Another attachment has this content id."
            yield FieldError(f"{pointer}/content_id", "duplicate_content_id", detail)
        seen.add(file.content_id)


def _filename_errors(pointer: str, name: str) -> Iterator[FieldError]:
    """Check a name that some file system will be asked to create, in whatever folder."""
    yield from _control_errors(pointer, name)
    if len(name) > FILENAME_LIMIT:
        yield FieldError(pointer, "too_long", f"{FILENAME_LIMIT} characters are the limit.")
    elif found := _NOT_NAME.search(name):
        yield FieldError(pointer, "invalid_filename", _found(found, "a plain file name"))
    elif not name:
        yield FieldError(pointer, "invalid_filename", "The file has no name.")
    elif name != name.strip().strip(".") or _DEVICE.fullmatch(name):
        detail = "A file name has no full stop or space at its ends and is no name of a device."
        yield FieldError(pointer, "invalid_filename", detail)


def _content_type_errors(pointer: str, content_type: str) -> Iterator[FieldError]:
    match = CONTENT_TYPE.fullmatch(content_type)
    names = [name.lower() for name in _PARAMETER.findall(content_type)]
    if match is None or _OWN_PARAMETERS.intersection(names) or len(set(names)) < len(names):
        detail = "A content type is type/subtype, with parameters other than the file's name."
        yield FieldError(pointer, "invalid_content_type", detail)
    elif is_composite(content_type):
        detail = "Messages and multiparts cannot be attached: a relay might look into them."
        yield FieldError(pointer, "unsupported_content_type", detail)


def _too_many(pointer: str, what: str, limit: int) -> FieldError:
    return FieldError(pointer, f"too_many_{what}", f"{limit} {what} are the limit.")


def _found(match: re.Match[str], wanted: str) -> str:
    return f"Character {match.start() + 1} is U+{ord(match[0]):04X}; this must be {wanted}."
