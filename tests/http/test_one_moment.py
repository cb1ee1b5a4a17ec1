"""An answer is of one moment: who is faster changes what comes next, never half of an answer."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from tests.http import stages
from tests.http.service import LETTER, Service

ROUNDS = 25


@pytest.mark.parametrize("act", ["undo", "cancel"])
async def test_what_was_done_is_answered_though_the_email_is_deleted_at_once(
    stored: Service, act: str
) -> None:
    for _ in range(ROUNDS):
        email_id = await stages.held(stored)
        path = f"/v1/emails/{email_id}"

        done, _ = await asyncio.gather(stored.post(f"{path}/{act}"), stored.call("DELETE", path))

        history = await stored.get(f"{path}/events")
        told = {event["type"] for event in history.json["data"]}
        assert (done.status == 200) == bool(told & {"email.undone", "email.canceled"})


async def test_an_etag_stands_for_one_content(stored: Service) -> None:
    email_id = await stages.draft(stored)

    async def edit(number: int) -> tuple[int, str, str]:
        part = "subject" if number % 2 else "text"
        answer = await stored.call("PATCH", f"/v1/emails/{email_id}", {part: f"{part} {number}"})
        return answer.json["version"], answer.json["subject"], answer.json["text"]

    answers = sorted(await asyncio.gather(*(edit(number) for number in range(40))))

    assert [version for version, _, _ in answers] == list(range(2, 42))
    for (_, subject, text), (_, next_subject, next_text) in pairwise(answers):
        assert (subject == next_subject) != (text == next_text), "each edit changes one of them"


async def test_a_message_can_be_read_while_another_takes_its_place(stored: Service) -> None:
    letters = [
        f"From: ann@example.com\r\nTo: bob@example.com\r\n\r\nLetter {number}\r\n".encode()
        for number in range(ROUNDS)
    ]
    raw = {"Content-Type": "message/rfc822"}
    made = await stored.call("POST", "/v1/emails?draft=true", letters[0], headers=raw)
    path = f"/v1/emails/{made.json['id']}"

    answers = await asyncio.gather(
        *(stored.call("PATCH", path, letter, headers=raw) for letter in letters),
        *(stored.get(f"{path}/raw") for _ in letters),
    )

    assert {answer.status for answer in answers} == {200}
    for answer in answers[ROUNDS:]:
        assert answer.body.partition(b"From: ")[2] in {
            letter.partition(b"From: ")[2] for letter in letters
        }


async def test_a_time_and_an_expiry_never_contradict_each_other(stored: Service) -> None:
    for _ in range(ROUNDS):
        email = (await stored.post("/v1/emails", LETTER | {"delay_seconds": 60})).json
        path = f"/v1/emails/{email['id']}"

        async def sent_again(path: str = path) -> None:
            await stored.post(f"{path}/undo")
            soon = {"delay_seconds": 60, "expires_at": "2027-01-15T08:05:00Z"}
            await stored.post(f"{path}/send", soon)

        await asyncio.gather(sent_again(), stored.call("PATCH", path, {"delay_seconds": 3600}))

        shown = (await stored.get(path)).json
        if shown["expires_at"] and shown["release_at"]:
            assert shown["release_at"] < shown["expires_at"]
