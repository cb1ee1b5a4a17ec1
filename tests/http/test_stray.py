"""What stands where nobody looks at it is refused, or it would be believed to count."""

from __future__ import annotations

import pytest

from tests.http import stages
from tests.http.service import LETTER, Service

MESSAGE = b"From: ann@example.com\r\nTo: bob@example.com\r\n\r\nIn haste.\r\n"


@pytest.mark.parametrize("header", ["Mail-From", "Rcpt-To"])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_an_envelope_goes_with_a_raw_message_only(
    service: Service, header: str, method: str
) -> None:
    """An email must not go to others than those that the request names."""
    there = "" if method == "POST" else f"/{await stages.draft(service)}"
    headers = {header: "eve@example.com"}

    answer = await service.call(method, f"/v1/emails{there}", LETTER, headers=headers)

    assert answer.problem == "bad_parameter"
    assert header in answer.json["detail"]


async def test_the_parameters_of_an_upload_are_none_of_a_list(service: Service) -> None:
    files = f"/v1/emails/{await stages.draft(service)}/attachments"

    assert (await service.get(f"{files}?filename=report.txt")).problem == "bad_parameter"


async def test_a_form_says_itself_what_its_files_are_called(service: Service) -> None:
    files = f"/v1/emails/{await stages.draft(service)}/attachments"

    answer = await service.post(
        f"{files}?filename=report.txt", "", Content_Type="multipart/form-data; boundary=b"
    )

    assert answer.problem == "bad_parameter"


async def test_a_method_that_is_not_taken_is_told_before_anything_else(service: Service) -> None:
    answer = await service.call("PUT", "/v1/emails?mail_from=ann@example.com", "{")

    assert answer.problem == "method_not_allowed"


async def test_a_delay_is_not_cut(service: Service) -> None:
    """Cut to fewer digits, these would mean at once, and thirty days."""
    path = "/v1/emails?delay_seconds="

    padded = await service.post(f"{path}0000000030", MESSAGE, Content_Type="message/rfc822")
    absurd = await service.post(f"{path}259200000000", MESSAGE, Content_Type="message/rfc822")

    assert padded.json["undo_seconds_left"] == 30
    assert absurd.errors == [("/delay_seconds", "out_of_range")]
