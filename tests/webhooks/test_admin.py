"""What clients can do to their webhooks."""

from __future__ import annotations

import json

import pytest
from standardwebhooks import Webhook

from tests.webhooks.receiver import Names
from tests.webhooks.stage import ACCOUNT, Scene, until
from undosend.domain.clock import SECOND
from undosend.domain.errors import InvalidWebhook, TooManyWebhooks, WebhookDisabled
from undosend.webhooks.admin import MOST, TYPES, WebhookAdmin, Wish
from undosend.webhooks.guard import Guard
from undosend.webhooks.port import Reason, Status
from undosend.webhooks.sign import new_secret, signature_headers

URL = "https://receiver.example/hook"
DAY = 24 * 3600


def office(scene: Scene) -> WebhookAdmin:
    return WebhookAdmin(
        store=scene.webhooks,
        guard=Guard(),
        lookup=Names(receiver_example=[["8.8.8.8"]], inside_example=[["10.0.0.1"]]),
        clock=scene.clock,
        wake=scene.deliverer.wake,
    )


async def test_a_new_webhook_has_a_secret_that_nobody_else_has() -> None:
    admin = office(Scene())

    one = await admin.create(ACCOUNT, Wish(URL))
    other = await admin.create(ACCOUNT, Wish(URL))

    assert one.secrets[0].text.startswith("whsec_")
    assert one.secrets != other.secrets
    assert "whsec" not in repr(one)
    assert URL not in repr(one)


async def test_what_is_wrong_is_told_all_at_once() -> None:
    admin = office(Scene())

    with pytest.raises(InvalidWebhook) as caught:
        await admin.create(ACCOUNT, Wish("https://inside.example/", ("email.sent", "mail.sent")))

    told = [(error.pointer, error.code) for error in caught.value.errors]
    assert told == [("/url", "webhook_url_refused"), ("/types/1", "unknown_type")]


async def test_an_account_has_twenty_and_no_more() -> None:
    admin = office(Scene())
    for _ in range(MOST):
        await admin.create(ACCOUNT, Wish(URL))

    with pytest.raises(TooManyWebhooks):
        await admin.create(ACCOUNT, Wish(URL))


async def test_a_change_leaves_alone_what_it_does_not_name() -> None:
    admin = office(Scene())
    made = await admin.create(ACCOUNT, Wish(URL, ("email.sent",), "one"))

    changed = await admin.update(ACCOUNT, made.id, Wish(types=()))
    assert (changed.url, changed.types, changed.description) == (URL, (), "one")

    with pytest.raises(InvalidWebhook):
        await admin.update(ACCOUNT, made.id, Wish("https://inside.example/"))
    assert (await admin.get(ACCOUNT, made.id)).url == URL


async def test_to_enable_forgets_what_was_held_against_it() -> None:
    scene = Scene()
    admin = office(scene)
    made = await scene.endpoint(
        failing_since=1, failed_at=2, disabled_at=3, disabled_reason=Reason.FAILING
    )

    enabled = await admin.update(ACCOUNT, made.id, Wish(enabled=True))

    assert (enabled.failing_since, enabled.disabled_at, enabled.disabled_reason) == (None,) * 3
    off = await admin.update(ACCOUNT, made.id, Wish(enabled=False))
    assert (off.disabled_at, off.disabled_reason) == (scene.clock.now(), Reason.CLIENT)


async def test_another_url_is_another_receiver_and_nothing_is_held_against_it() -> None:
    scene = Scene()
    admin = office(scene)
    rest_until = scene.clock.now() + 9
    failing = await scene.endpoint(failing_since=1, failed_at=2, rest_until=rest_until)
    gone = await scene.endpoint(disabled_at=3, disabled_reason=Reason.GONE)

    same = await admin.update(ACCOUNT, failing.id, Wish(failing.url, description="two"))
    assert (same.failing_since, same.rest_until) == (1, rest_until)
    moved = await admin.update(ACCOUNT, failing.id, Wish(URL))
    assert (moved.failing_since, moved.failed_at, moved.rest_until) == (None, None, 0)
    assert (await admin.update(ACCOUNT, gone.id, Wish(URL))).disabled_reason is Reason.GONE


async def test_to_disable_again_keeps_the_first_reason() -> None:
    scene = Scene()
    gone = await scene.endpoint(disabled_at=3, disabled_reason=Reason.GONE)

    off = await office(scene).update(ACCOUNT, gone.id, Wish(enabled=False))

    assert (off.disabled_at, off.disabled_reason) == (3, Reason.GONE)


async def test_an_old_secret_signs_beside_the_new_one_for_a_day() -> None:
    scene = Scene()
    admin = office(scene)
    made = await admin.create(ACCOUNT, Wish(URL))

    first = await admin.rotate(ACCOUNT, made.id)
    scene.clock.advance(DAY - 1)
    second = await admin.rotate(ACCOUNT, made.id)

    new, middle, oldest = second.secrets
    assert (middle.text, oldest.text) == (first.secrets[0].text, made.secrets[0].text)
    assert middle.until == scene.clock.now() + DAY * SECOND
    assert oldest.until == scene.clock.now() + SECOND
    scene.clock.advance(1)
    third = await admin.rotate(ACCOUNT, made.id)
    assert [s.text for s in third.secrets[1:]] == [new.text, middle.text]


async def test_many_rotations_leave_few_secrets() -> None:
    admin = office(Scene())
    made = await admin.create(ACCOUNT, Wish(URL))

    for _ in range(20):
        made = await admin.rotate(ACCOUNT, made.id)

    assert len(made.secrets) == 5


async def test_a_test_goes_to_its_webhook_only_whatever_it_wants() -> None:
    scene = Scene()
    admin = office(scene)
    made = await admin.create(ACCOUNT, Wish(URL, ("email.failed",)))
    await scene.endpoint("good")

    message = await admin.test(ACCOUNT, made.id)
    await scene.deliver()

    (body,) = scene.sender.bodies()
    assert (body["type"], body["data"]["id"]) == ("webhook.test", made.id)
    (delivery,) = await admin.deliveries(ACCOUNT, made.id, limit=10)
    assert (delivery.id, delivery.status) == (message.id, Status.DELIVERED)


async def test_nothing_is_sent_to_a_disabled_one() -> None:
    scene = Scene()
    admin = office(scene)
    made = await admin.create(ACCOUNT, Wish(URL, enabled=False))

    for asked in (
        admin.test(ACCOUNT, made.id),
        admin.redeliver(ACCOUNT, made.id, "msg_1"),
        admin.redeliver_dead(ACCOUNT, made.id),
    ):
        with pytest.raises(WebhookDisabled):
            await asked


async def test_a_new_webhook_is_told_from_its_first_event_on() -> None:
    """The deliverer sleeps while there is none, and what clients do wakes it."""
    import asyncio  # noqa: PLC0415

    scene = Scene()
    admin = office(scene)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(scene.deliverer.run())
        await until(lambda: len(scene.clock._sleepers) == 1)
        made = await admin.create(ACCOUNT, Wish(URL))
        await scene.hold()
        await until(lambda: len(scene.sender.sent) == 1)
        await scene.deliverer.idle()
        await admin.redeliver(ACCOUNT, made.id, scene.sender.sent[0].headers["webhook-id"])
        await until(lambda: len(scene.sender.sent) == 2)
        await scene.deliverer.stop(1)
        await running


def test_a_signature_is_what_the_public_library_expects() -> None:
    """``verify`` also looks at the machine's time, so it is asked about now."""
    from datetime import UTC, datetime  # noqa: PLC0415

    body = json.dumps({"type": "email.sent", "data": {"subject": "Grüße"}}).encode()
    secrets = [new_secret(), new_secret()]
    seconds = int(datetime.now(UTC).timestamp())

    headers = signature_headers("msg_1", seconds, body, secrets)

    for secret in secrets:
        assert Webhook(secret).verify(body.decode(), dict(headers))["type"] == "email.sent"
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(new_secret()).verify(body.decode(), dict(headers))
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(secrets[0]).verify(body.decode() + " ", dict(headers))


def test_the_vector_of_standard_webhooks_passes() -> None:
    headers = signature_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_types_are_those_that_the_log_knows() -> None:
    assert {
        *("email.drafted", "email.edited", "email.held", "email.rescheduled", "email.undone"),
        *("email.canceled", "email.sending", "email.sent", "email.partially_sent"),
        "email.content_deleted",
        *("email.deferred", "email.uncertain", "email.failed", "email.unknown"),
        *("email.expired", "email.reopened", "email.deleted", "webhook.disabled"),
    } == TYPES
