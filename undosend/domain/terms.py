"""The words under which an email is found: each a term of one inverted index.

A search names whole words of the subject or of an address; all of them must be there. Case,
and forms of one character that only look different (NFKC), do not count.
"""

from __future__ import annotations

import re
import unicodedata

from undosend.domain.addresses import AddressError, displayed, mailbox
from undosend.domain.email import Content

_WORD = re.compile(r"\w+")
_LONGEST = 64


def terms_of(content: Content) -> frozenset[str]:
    """Return every term under which the content is found."""
    people = [*content.to, *content.cc, *content.bcc, *content.reply_to]
    if content.sender:
        people.append(content.sender)
    emails = _folded("\n".join([person.email for person in people]))
    texts = [content.subject, *[person.name for person in people]]
    if "xn--" in emails:
        texts += map(displayed, emails.split("\n"))
    terms = {f"w:{word[:_LONGEST]}" for word in _WORD.findall(_folded("\n".join([emails, *texts])))}
    terms.update(f"a:{email}" for email in emails.split("\n") if email)
    terms.update(tag_term(name, value) for name, value in content.tags)
    return frozenset(terms)


def tag_term(name: str, value: str) -> str:
    """Return the term of a tag."""
    return f"t:{name}:{value}"


def asked(query: str) -> tuple[str, ...]:
    """Return the terms that a search asks for, in its order: whole addresses, and words."""
    terms: list[str] = []
    for piece in _folded(query).split():
        user, at, domain = piece.strip("<>,;\"'").rpartition("@")
        terms += [f"a:{_stored(user, domain)}"] if user and at and domain else _words(piece)
    return tuple(dict.fromkeys(terms))


def _stored(user: str, domain: str) -> str:
    """Return the address as emails have it: its domain in ASCII (RFC 5890 §2.3.2.1)."""
    try:
        return mailbox(f"{user}@{domain}").email
    except AddressError:
        return f"{user}@{domain}"


def _words(text: str) -> list[str]:
    return [f"w:{word[:_LONGEST]}" for word in _WORD.findall(_folded(text))]


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
