"""Everything that is wrong with a request's body, told at once.

Pydantic judges shapes and types, with paths; what the values mean is the domain's to judge.
Where a shape is wrong, something harmless is put in its place and the rest is judged all the
same, so that the author of the body hears of everything together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from undosend.domain.errors import ERROR_LIMIT, FieldError, InvalidEmail

AnyModel = TypeVar("AnyModel", bound=BaseModel)
Place = tuple[str | int, ...]
"""Where something stands in a body: names of members and places in lists."""

_NOBODY = "nobody@example.com"
_HARMLESS: Mapping[str, Any] = {
    **dict.fromkeys(("from", "to", "cc", "bcc", "reply_to", "mail_from", "rcpt_to"), _NOBODY),
    **dict.fromkeys(("text", "html", "content"), ""),
    **dict.fromkeys(("filename", "name", "value"), "x"),
}
"""What may stand where something wrong stood, so that the rest can be judged."""
_HARMLESS_ENTRIES: Mapping[str, Any] = {
    "tags": {"name": "x", "value": "x"},
    "attachments": {"filename": "x", "content": ""},
    "scopes": "read",
    "senders": "example.com",
}
_CODES = {
    "extra_forbidden": ("unknown_member", "There is no such member here."),
    "missing": ("missing", "This member is needed."),
    "string_type": ("invalid_type", "This must be text."),
    "int_type": ("invalid_type", "This must be a whole number."),
    "int_from_float": ("invalid_type", "This must be a whole number."),
    "bool_type": ("invalid_type", "This must be true or false."),
    "list_type": ("invalid_type", "This must be a list."),
    "dict_type": ("invalid_type", "This must be an object."),
    "model_type": ("invalid_type", "This must be an object."),
    "model_attributes_type": ("invalid_type", "This must be an object."),
    "greater_than_equal": ("out_of_range", "This must be {ge} or more."),
    "less_than_equal": ("out_of_range", "This must be {le} or less."),
    "string_pattern_mismatch": (
        "invalid_text",
        "This takes 1 to 256 ASCII letters, digits, underscores and hyphens.",
    ),
    "string_too_short": ("missing", "This is empty."),
    "no_types": ("missing", "Name a type, or give null for all of them."),
    "string_too_long": ("too_long", "This must have {max_length} characters or fewer."),
    "string_unicode": ("invalid_text", "This holds a lone surrogate, which is no text."),
}


def validated(
    model: type[AnyModel],
    value: Any,
    rules: Callable[[AnyModel], Sequence[FieldError]] = lambda _: (),
) -> AnyModel:
    """Return the value as a model.

    rules: what else could be wrong with it; asked only when shapes are wrong already, so that
    the answer lists both. (Where shapes are right the outbox asks by itself.)

    Raises:
        InvalidEmail: with everything that is wrong, or with the first of very much.
    """
    wrong: list[FieldError] = []
    seen: set[Place] = set()
    judged = value
    while True:
        try:
            given = model.model_validate(judged)
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
        else:
            break
        if len(details) > ERROR_LIMIT:
            raise InvalidEmail([_field_error(one, judged) for one in details[:ERROR_LIMIT]])
        new = [detail for detail in details if _place(detail, judged) not in seen]
        wrong += [_field_error(detail, judged) for detail in new]
        places = {_place(detail, judged): detail["type"] for detail in details}
        if () in places or not seen.isdisjoint(places):  # no object, or nothing helps
            raise InvalidEmail(wrong)
        seen.update(places)
        judged = deepcopy(judged)
        for place, mistake in places.items():
            _make_harmless(judged, place, unknown=mistake == "extra_forbidden")
    if wrong:
        raise InvalidEmail([*wrong, *rules(given)])
    return given


def _field_error(detail: Mapping[str, Any], body: Any) -> FieldError:
    code, sentence = _CODES.get(detail["type"], (detail["type"], ""))
    if code == "unknown_member" and detail["loc"][0] == "attachments" and "path" in detail["loc"]:
        sentence = "undosend fetches nothing: send the file's bytes in content."
    if code in {"out_of_range", "too_long"} and "ctx" in detail:
        sentence = sentence.format(**detail["ctx"])
    pointer = "".join(f"/{escaped(part)}" for part in _place(detail, body))
    if not pointer and code == "invalid_type":
        return FieldError("", "invalid_body", "The body must be one JSON object.")
    return FieldError(pointer, code, sentence or f"{detail['msg']}.".replace("..", "."))


def _place(detail: Mapping[str, Any], body: Any) -> Place:
    """Return the place the error is about, as far as the body goes along with it."""
    if member := detail.get("ctx", {}).get("member"):
        return (member,)
    place: list[str | int] = []
    for part in detail["loc"]:
        if isinstance(body, dict) and isinstance(part, str):
            body = body.get(part)
        elif isinstance(body, list) and isinstance(part, int):
            body = body[part]
        else:
            break
        place.append(part)
    return tuple(place)


def _make_harmless(body: Any, place: Place, *, unknown: bool) -> None:
    *way, last = place
    for part in way:
        body = body[part]
    if isinstance(last, int):
        body[last] = _HARMLESS_ENTRIES.get(str(way[-1]), _NOBODY)
    elif last in _HARMLESS and not unknown:
        body[last] = _HARMLESS[last]
    else:
        body.pop(last, None)


def escaped(part: str | int) -> str:
    """Return a part of a JSON pointer (RFC 6901 §3)."""
    return str(part).replace("~", "~0").replace("/", "~1")
