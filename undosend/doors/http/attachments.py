"""``/v1/emails/{id}/attachments``: the files of a draft, one by one and as they are.

A file's octets are in memory once while they arrive, and what has arrived is what the database
is given. A file that cannot fit is refused before it is read, where its length is known.
"""

from __future__ import annotations

import hashlib
from types import MappingProxyType
from urllib.parse import quote

from undosend.domain.access import Scope
from undosend.domain.email import Content, File
from undosend.domain.errors import FieldError, InvalidEmail
from undosend.domain.octets import slices
from undosend.domain.rules import FILE_LIMIT, no_room
from undosend.doors.http import answers
from undosend.doors.http.forms import Form, Part, boundary_of
from undosend.doors.http.framing import announced
from undosend.doors.http.judging import escaped
from undosend.doors.http.mail import OneEmail
from undosend.doors.http.payloads import file_of
from undosend.doors.http.problems import BadRequest

_FRAME = 256 * 1024
"""Octets of a form beside its files."""
_OF_A_FILE = frozenset({"filename", "content_id"})
_SAY_NOTHING = {"", "application/x-www-form-urlencoded"}  # curl's word for any body


class AttachmentsHandler(OneEmail):
    """All of an email's files."""

    needs = MappingProxyType({"GET": Scope.READ, "POST": Scope.SEND})

    body_limit = FILE_LIMIT + _FRAME

    _form: Form | None = None

    async def prepare(self) -> None:  # type: ignore[override] # Tornado takes both kinds
        """Refuse what cannot be attached before it is read."""
        super().prepare()
        if self.request.method != "POST" or "Idempotency-Key" in self.request.headers:
            return  # with a key it may have been attached, and sent, long ago
        email = await self.drafts.editable(self.account, self.path_args[0], self.if_match())
        frame = _FRAME if self._form else 0
        size = max(0, announced(self.request.headers) - frame)
        if refusal := no_room(email.content, email.attachments, size):
            raise refusal

    def look_closer(self) -> None:
        """Find out whether a file comes as it is, or in a form that names it."""
        if self.request.method == "POST":
            boundary = boundary_of(self.request.headers.get("Content-Type", ""))
            self._form = None if boundary is None else Form(boundary)
            self.parameters = frozenset() if self._form else _OF_A_FILE

    def data_received(self, chunk: bytes) -> None:
        """Take a form apart at once; gather the octets of a file."""
        if self._form is None:
            super().data_received(chunk)
        elif self.fits(len(chunk)):
            self._form.feed(chunk)

    def drop_body(self) -> None:
        """Forget what has come, in a form or not."""
        super().drop_body()
        self._form = None

    def fingerprint(self) -> str:
        """Return a hash of the files, as forms say the same with other boundaries."""
        if self._form is None:
            return super().fingerprint()
        digest = hashlib.sha256()
        for part in self._form.parts():
            told = (part.name, part.filename, part.content_type, len(part.body))
            digest.update(repr(told).encode("utf-8", "backslashreplace"))
            digest.update(part.body)
        return digest.hexdigest()

    async def get(self, email_id: str) -> None:
        """List the files, in the order in which they stand in the message."""
        email = await self.outbox.whole(self.account, email_id)
        data = [answers.attachment(file) for file in email.parts]
        self.set_header("ETag", f'"{email.row.version}"')
        self.answer(answers.listing(data, has_more=False))

    async def post(self, email_id: str) -> None:
        """Attach a file, or all files of a form; the draft's new version is the ETag."""
        async with self.turn() as turn:
            if turn.earlier:
                self.replaying(turn.earlier)
                email, added = await self.outbox.get(self.account, email_id), turn.earlier.ids
            else:
                files = self._files()
                email = await self.drafts.edit(
                    self.account,
                    email_id,
                    _as_it_is,
                    files=files,
                    version=self.if_match(),
                    receipt=turn.receipt(201),
                )
                added = tuple(file.attachment.id for file in files)
        self.set_header("Location", f"{self.request.path}/{added[0]}")
        self.set_header("ETag", f'"{email.row.version}"')
        data = [answers.attachment(file) for file in email.parts if file.id in added]
        self.answer(answers.listing(data, has_more=False), 201)

    def _files(self) -> list[File]:
        if self._form is None:
            return [self._file()]
        self.whole()
        parts = self._form.parts()
        files = [part for part in parts if part.filename is not None]
        content_id = _content_id([part for part in parts if part.filename is None])
        if not files:
            raise BadRequest("malformed_form", "No part of the form has a filename.")
        if content_id is not None and len(files) > 1:
            raise BadRequest("malformed_form", "One content_id cannot be that of several files.")
        return [
            file_of(part.filename or "", part.body, part.content_type, content_id, self.now + place)
            for place, part in enumerate(files)
        ]

    def _file(self) -> File:
        name = self.parameter("filename")
        if name is None:
            raise BadRequest(
                "bad_parameter",
                "Name the file: POST its octets to …/attachments?filename=report.pdf, or send "
                "multipart/form-data.",
            )
        kind = self.request.headers.get("Content-Type", "")
        told = None if kind in _SAY_NOTHING else kind
        return file_of(name, self.octets(), told, self.parameter("content_id"), self.now)


class AttachmentHandler(OneEmail):
    """One file."""

    needs = MappingProxyType({"GET": Scope.READ, "DELETE": Scope.SEND})

    async def get(self, email_id: str, attachment_id: str) -> None:
        """Download it, as octets that no browser takes for anything else."""
        file = await self.outbox.attachment(
            self.account, email_id, attachment_id, expect=self.answering
        )
        name = quote(file.attachment.filename, safe="")
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Disposition", f"attachment; filename*=UTF-8''{name}")
        await self.stream(slices(file.body), len(file.body))

    async def delete(self, email_id: str, attachment_id: str) -> None:
        """Take it from the draft; the draft's new version is the ETag."""
        self.no_body()
        email = await self.drafts.detach(
            self.account, email_id, attachment_id, version=self.if_match()
        )
        self.set_header("ETag", f'"{email.row.version}"')
        self.empty()


def _as_it_is(content: Content) -> Content:
    return content


def _content_id(fields: list[Part]) -> str | None:
    unknown = [part.name for part in fields if part.name != "content_id"]
    if unknown or len(fields) > 1:
        name = unknown[0] if unknown else "content_id"
        detail = "A form has parts with a filename, and one field: content_id."
        pointer = f"/{escaped(name[:64])}"
        raise InvalidEmail([FieldError(pointer, "unknown_member", detail)])
    try:
        return fields[0].body.decode() if fields else None
    except UnicodeDecodeError:
        raise BadRequest("malformed_form", "The field content_id is not UTF-8.") from None
