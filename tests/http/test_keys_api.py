"""``/v1/keys``: who may make, see, rotate and revoke which key, and what a key may not ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from structlog import get_logger
from structlog.testing import capture_logs

from tests.http.service import USUAL_RATION, Answer, Service
from undosend.control import Answer as Told
from undosend.control import Request
from undosend.domain.access import EVERY, Scope
from undosend.domain.clock import SECOND, ManualClock, rfc3339
from undosend.domain.keys import Key, digest_of
from undosend.doors.http import operators
from undosend.doors.http.keys import KeyDesk
from undosend.doors.http.operators import OperatorDoor, operator_routes
from undosend.doors.http.webhooks import WebhookDesk
from undosend.keyring import Keyring, Wish
from undosend.operating import _answered
from undosend.signing_key import SigningKey
from undosend.spool.memory_keys import MemoryKeys

DAY = 24 * 3600
HOUR = 3600


@dataclass(frozen=True)
class Holder:
    """Whoever shows a key to the service."""

    service: Service
    key: str
    id: str = ""

    async def call(self, method: str, path: str, body: Any = None) -> Answer:
        headers = {"Authorization": f"Bearer {self.key}"}
        if method == "POST" and body is None:
            body = ""
        return await self.service.call(method, path, body, headers=headers)

    async def made(self, **wish: Any) -> dict[str, Any]:
        answer = await self.call("POST", "/v1/keys", {"name": "shop"} | wish)
        assert answer.status == 201, answer
        return dict(answer.json)

    async def let_in(self) -> bool:
        """Tell whether the key is a good one."""
        return (await self.call("GET", "/v1/emails")).status != 401


async def holder(service: Service, **wish: Any) -> Holder:
    key, text = await service.keyring.create(Wish(**{"name": "k", "scopes": EVERY} | wish))
    return Holder(service, text, key.id)


@pytest.fixture
async def admin(service: Service) -> Holder:
    return await holder(service)


@pytest.fixture
async def operator(service: Service) -> OperatorDoor:
    return OperatorDoor(
        operator_routes(
            keys=KeyDesk(service.keyring, service.clock, operator=True),
            webhooks=WebhookDesk(service.webhook_admin, service.clock, operator=True),
            spool=service.spool,
            signing_key=await SigningKey.opened(service.spool),
            wake=None,
        )
    )


async def told(door: OperatorDoor, method: str, path: str, body: Any = None) -> Told:
    return await _answered(door, Request(method, path, body))


async def wrong(admin: Holder, **wish: Any) -> list[tuple[str, str]]:
    """Return what is wrong with the wish; no key was made."""
    before = len(admin.service.keyring.listed(None))
    answer = await admin.call("POST", "/v1/keys", {"name": "shop"} | wish)
    assert answer.status == 422, answer
    assert len(admin.service.keyring.listed(None)) == before
    return answer.errors


# One key.


async def test_a_new_key_is_told_once_and_lets_its_holder_in(admin: Holder) -> None:
    answer = await admin.call("POST", "/v1/keys", {"name": "shop"})

    key = answer.json
    assert answer.status == 201
    assert answer.headers["Location"] == f"/v1/keys/{key['id']}"
    assert answer.headers["Cache-Control"] == "no-store"
    told_ = await admin.call("GET", answer.headers["Location"])
    listed = await admin.call("GET", "/v1/keys")
    assert told_.json == {name: value for name, value in key.items() if name != "key"}
    assert key["id"] in [one["id"] for one in listed.json["data"]]
    assert await Holder(admin.service, key["key"]).let_in()
    digest = digest_of(key["key"])
    for shown in (told_.body, listed.body):
        assert key["key"].encode() not in shown
        assert digest.hex().encode() not in shown
        assert key["key"].rpartition("_")[2].encode() not in shown


async def test_what_is_not_said_is_usual(admin: Holder) -> None:
    key = await admin.made()

    assert (key["scopes"], key["senders"], key["account"], key["status"]) == (
        ["send", "read", "undo"], None, "default", "active",
    )  # fmt: skip
    assert key["expires_at"] is key["revoked_at"] is key["last_used_at"] is None


async def test_all_that_can_be_said_is_kept(admin: Holder) -> None:
    key = await admin.made(
        scopes=["undo", "send"],
        senders=["ann@EXAMPLE.com", "Müller.Example", "müller.example"],
        default_delay_seconds=60.0,
        max_delay_seconds=3600,
        expires_in_days=2,
    )

    assert key["scopes"] == ["send", "undo"]
    assert key["senders"] == ["ann@example.com", "xn--mller-kva.example"]
    assert (key["default_delay_seconds"], key["max_delay_seconds"]) == (60, 3600)
    assert key["expires_at"] == rfc3339(admin.service.clock.now() + 2 * DAY * SECOND)


async def test_a_key_ends_with_its_time(admin: Holder) -> None:
    key = await admin.made(expires_in_days=1)
    shop = Holder(admin.service, key["key"])

    admin.service.clock.advance(DAY - 1)
    assert await shop.let_in()
    admin.service.clock.advance(1)
    assert not await shop.let_in()
    assert (await admin.call("GET", f"/v1/keys/{key['id']}")).json["status"] == "expired"


async def test_what_is_used_is_told(admin: Holder) -> None:
    key = await admin.made()
    await Holder(admin.service, key["key"]).let_in()

    shown = (await admin.call("GET", f"/v1/keys/{key['id']}")).json

    assert shown["last_used_at"] == rfc3339(admin.service.clock.now())


async def test_the_senders_of_a_key_are_held_to(admin: Holder) -> None:
    key = await admin.made(senders=["example.com"])
    shop = Holder(admin.service, key["key"])
    letter = {"to": "bob@example.net", "subject": "Hi", "text": "In haste."}

    mine = await shop.call("POST", "/v1/emails", letter | {"from": "ann@example.com"})
    theirs = await shop.call("POST", "/v1/emails", letter | {"from": "ann@sub.example.com"})

    assert mine.status == 202
    assert (theirs.status, theirs.problem) == (403, "sender_not_allowed")


# Bad wishes.

NO_SENDERS = [
    "", " ", "*", "*.example.com", "@example.com", "ann@", "a b@example.com", "example",
    "localhost", "127.0.0.1", "[127.0.0.1]", "ann@[127.0.0.1]", "example.com.", "-a.example",
    "a..example",
    "Ann <ann@example.com>", "ann@example.com, bob@example.com", "example.com\n", "exa\0mple.com",
    "https://example.com", "example.com:25", "ex\u212Aample.com", "a@b@example.com",
    "a" * 300 + ".com", "{}.example", 7, None, {}, ["example.com"], True,
]  # fmt: skip


@pytest.mark.parametrize("sender", NO_SENDERS, ids=repr)
async def test_what_is_no_address_and_no_domain_is_refused(admin: Holder, sender: Any) -> None:
    found = await wrong(admin, senders=["example.com", sender])

    assert [pointer for pointer, _ in found] == ["/senders/1"]


async def test_a_domain_that_is_none_is_called_a_domain(admin: Holder) -> None:
    wish = {"name": "shop", "senders": ["localhost"]}

    answer = await admin.call("POST", "/v1/keys", wish)

    [error] = answer.json["errors"]
    assert error["detail"] == "This is no domain name of mail, like example.com, and no address."


@pytest.mark.parametrize(
    ("wish", "errors"),
    [
        ({"name": ""}, [("/name", "out_of_range")]),
        ({"name": "  "}, [("/name", "out_of_range")]),
        ({"name": "x" * 101}, [("/name", "out_of_range")]),
        ({"name": "a\nb"}, [("/name", "invalid_text")]),
        ({"name": "a\u202eb"}, [("/name", "invalid_text")]),
        ({"name": None}, [("/name", "invalid_type")]),
        ({"scopes": []}, [("/scopes", "out_of_range")]),
        ({"scopes": "send"}, [("/scopes", "invalid_type")]),
        ({"scopes": ["send", "SEND"]}, [("/scopes/1", "invalid_scope")]),
        ({"scopes": ["root", 1]}, [("/scopes/0", "invalid_scope"), ("/scopes/1", "invalid_type")]),
        ({"scopes": ["send"] * 5 + ["x"]}, [("/scopes/5", "invalid_scope")]),
        ({"senders": []}, [("/senders", "out_of_range")]),
        ({"senders": ["example.com"] * 101}, [("/senders", "out_of_range")]),
        ({"senders": ["example.com"] * 101 + ["*"]}, [("/senders", "out_of_range")]),
        ({"senders": "example.com"}, [("/senders", "invalid_type")]),
        ({"default_delay_seconds": -1}, [("/default_delay_seconds", "out_of_range")]),
        ({"max_delay_seconds": 2_592_001}, [("/max_delay_seconds", "out_of_range")]),
        ({"max_delay_seconds": "60"}, [("/max_delay_seconds", "invalid_type")]),
        ({"max_delay_seconds": True}, [("/max_delay_seconds", "invalid_type")]),
        (
            {"default_delay_seconds": 61, "max_delay_seconds": 60},
            [("/default_delay_seconds", "out_of_range")],
        ),
        ({"expires_in_days": 0}, [("/expires_in_days", "out_of_range")]),
        ({"expires_in_days": 1.5}, [("/expires_in_days", "invalid_type")]),
        ({"expires_at": "2020-01-01T00:00:00Z"}, [("/expires_at", "out_of_range")]),
        ({"expires_at": "tomorrow"}, [("/expires_at", "invalid_time")]),
        (
            {"expires_at": "2099-01-01T00:00:00Z", "expires_in_days": 1},
            [("/expires_in_days", "conflicting_members")],
        ),
        (
            {"role": "x", "digest": "y"},
            [("/digest", "unknown_member"), ("/role", "unknown_member")],
        ),
        ({"account": "other"}, [("/account", "operator_only")]),
        ({"account": "no such thing"}, [("/account", "invalid_text")]),
        (
            {"rate_per_minute": 0, "daily_quota": 0},
            [("/daily_quota", "operator_only"), ("/rate_per_minute", "operator_only")],
        ),
        ({"name": 1, "scopes": ["x"]}, [("/name", "invalid_type"), ("/scopes/0", "invalid_scope")]),
    ],
    ids=repr,
)
async def test_a_bad_wish_is_refused_with_all_that_is_wrong(
    admin: Holder, wish: dict[str, Any], errors: list[tuple[str, str]]
) -> None:
    assert await wrong(admin, **wish) == errors


@pytest.mark.parametrize("body", [[], "x", 1, None])
async def test_a_body_that_is_no_object_is_refused(admin: Holder, body: Any) -> None:
    answer = await admin.call("POST", "/v1/keys", body if body is not None else "null")
    assert answer.status in {415, 422}


@pytest.mark.parametrize("seconds", [-1, 31_536_001, "1", None, 1.5])
async def test_a_bad_overlap_is_refused_and_nothing_is_made(admin: Holder, seconds: Any) -> None:
    answer = await admin.call("POST", f"/v1/keys/{admin.id}/rotate", {"overlap_seconds": seconds})

    assert answer.problem == "invalid_key"
    assert [pointer for pointer, _ in answer.errors] == ["/overlap_seconds"]
    assert len(admin.service.keyring.listed(None)) == 1


# Rotation and the end.


async def test_both_keys_are_good_during_a_rotation(admin: Holder) -> None:
    old = await admin.made(scopes=["send", "undo"], senders=["example.com"])

    answer = await admin.call("POST", f"/v1/keys/{old['id']}/rotate")

    new = answer.json
    assert (answer.status, new["replaces"]) == (201, old["id"])
    same = ("name", "account", "scopes", "senders", "expires_at", "max_delay_seconds")
    assert [new[name] for name in same] == [old[name] for name in same]
    first, second = (Holder(admin.service, key["key"]) for key in (old, new))
    admin.service.clock.advance(DAY - 1)
    assert (await first.let_in(), await second.let_in()) == (True, True)
    admin.service.clock.advance(1)
    assert (await first.let_in(), await second.let_in()) == (False, True)


async def test_without_overlap_the_old_key_ends_at_once(admin: Holder) -> None:
    old = await admin.made()

    await admin.call("POST", f"/v1/keys/{old['id']}/rotate", {"overlap_seconds": 0})

    assert not await Holder(admin.service, old["key"]).let_in()


async def test_a_rotation_lets_no_key_last_longer_than_it_would_have(admin: Holder) -> None:
    old = await admin.made(expires_in_days=1)

    await admin.call("POST", f"/v1/keys/{old['id']}/rotate", {"overlap_seconds": 30 * DAY})

    shown = (await admin.call("GET", f"/v1/keys/{old['id']}")).json
    assert shown["expires_at"] == old["expires_at"]


async def test_a_revoked_key_lets_nobody_in_from_the_answer_on(admin: Holder) -> None:
    key = await admin.made()
    shop = Holder(admin.service, key["key"])
    assert await shop.let_in()

    first = await admin.call("POST", f"/v1/keys/{key['id']}/revoke")
    assert (first.status, first.json["status"]) == (200, "revoked")
    assert not await shop.let_in()

    admin.service.clock.advance(HOUR)
    again = await admin.call("POST", f"/v1/keys/{key['id']}/revoke")
    assert again.json == first.json
    late = await admin.call("POST", f"/v1/keys/{key['id']}/rotate")
    assert (late.status, late.problem) == (409, "key_ended")


async def test_a_key_may_end_itself_and_the_operator_makes_another(
    admin: Holder, operator: OperatorDoor
) -> None:
    assert (await admin.call("POST", f"/v1/keys/{admin.id}/revoke")).status == 200
    assert not await admin.let_in()

    made = await told(operator, "POST", "/v1/keys", {"name": "again", "scopes": ["admin", "read"]})

    assert await Holder(admin.service, made.document["key"]).let_in()


class Meanwhile(MemoryKeys):
    """Lets a key be revoked in the middle of its rotation."""

    keyring: Keyring

    async def succeed(self, key: Key, old_id: str, *, at: int) -> None:
        await self.keyring.revoke(None, old_id)
        await super().succeed(key, old_id, at=at)


async def test_a_key_that_is_revoked_during_its_rotation_stays_so() -> None:
    store = Meanwhile()
    keyring = store.keyring = Keyring(store, ManualClock())
    key, text = await keyring.create(Wish("k"))

    await keyring.rotate(None, key.id, DAY * SECOND)

    assert keyring.caller(text) is None


async def test_a_rotation_counts_nothing_twice(service: Service) -> None:
    key, _ = await service.keyring.create(Wish("k"))
    service.keyring.note_emails(key.id, 3)

    await service.keyring.rotate(None, key.id, DAY * SECOND)
    await service.keyring.keep_uses()

    assert service.keyring.used_today(key.id) == 3


# Who may.


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope is not Scope.ADMIN])
async def test_only_the_admin_scope_lets_one_at_the_keys(service: Service, scope: Scope) -> None:
    other = await holder(service, scopes=frozenset({scope}))

    for method, path in (
        ("GET", "/v1/keys"),
        ("POST", "/v1/keys"),
        ("GET", f"/v1/keys/{other.id}"),
        ("POST", f"/v1/keys/{other.id}/rotate"),
        ("POST", f"/v1/keys/{other.id}/revoke"),
    ):
        answer = await other.call(method, path)
        assert (answer.status, answer.problem) == (403, "insufficient_scope")
    assert (await service.get("/v1/keys")).status == 401


async def test_another_accounts_key_is_as_one_that_never_was(service: Service) -> None:
    ours, theirs = await holder(service), await holder(service, account="other")
    unknown = theirs.id[:-1] + ("0" if theirs.id[-1] != "0" else "1")

    assert [key["id"] for key in (await ours.call("GET", "/v1/keys")).json["data"]] == [ours.id]
    for method, action in (("GET", ""), ("POST", "/rotate"), ("POST", "/revoke")):
        there = await ours.call(method, f"/v1/keys/{theirs.id}{action}")
        nowhere = await ours.call(method, f"/v1/keys/{unknown}{action}")
        assert there.status == 404
        assert there.body.replace(theirs.id.encode(), b"") == nowhere.body.replace(
            unknown.encode(), b""
        )
    assert await theirs.let_in()
    assert (await ours.call("GET", "/v1/keys?account=other")).problem == "bad_parameter"


async def test_a_bounded_key_makes_and_gets_no_key_that_may_more(service: Service) -> None:
    end = service.clock.now() + 10 * DAY * SECOND
    bounded = await holder(
        service,
        senders=("example.com", "ann@example.net"),
        max_delay_seconds=60,
        rate_per_minute=50,
        daily_quota=7,
        expires_at=end,
    )
    assert await wrong(bounded, senders=["bob@example.com", "example.net", "example.org"]) == [
        ("/senders/1", "beyond_own_key"), ("/senders/2", "beyond_own_key"),
    ]  # fmt: skip
    assert await wrong(bounded, max_delay_seconds=61) == [("/max_delay_seconds", "beyond_own_key")]
    assert await wrong(bounded, default_delay_seconds=61) == [
        ("/default_delay_seconds", "beyond_own_key")
    ]
    assert await wrong(bounded, expires_in_days=11) == [("/expires_in_days", "beyond_own_key")]
    assert await wrong(bounded, expires_at="2099-01-01T00:00:00Z") == [
        ("/expires_at", "beyond_own_key")
    ]

    usual = await bounded.made()
    assert usual["senders"] == ["example.com", "ann@example.net"]
    assert (usual["max_delay_seconds"], usual["rate_per_minute"], usual["daily_quota"]) == (
        60,
        50,
        7,
    )
    assert usual["expires_at"] == rfc3339(end)
    less = await bounded.made(senders=["bob@example.com"], max_delay_seconds=0, expires_in_days=1)
    assert (less["senders"], less["max_delay_seconds"]) == (["bob@example.com"], 0)

    free = await holder(service)
    refused = await bounded.call("POST", f"/v1/keys/{free.id}/rotate")
    assert (refused.status, refused.problem) == (403, "forbidden")
    assert (await bounded.call("POST", f"/v1/keys/{bounded.id}/rotate")).status == 201
    assert (await free.call("POST", f"/v1/keys/{bounded.id}/rotate")).status == 201


@pytest.mark.parametrize(
    "bound",
    [
        {"senders": ("example.com",)},
        {"max_delay_seconds": 60},
        {"expires_at": 4 * 10**9 * SECOND},
        {"rate_per_minute": 60},
        {"daily_quota": 7},
    ],
)
async def test_one_bound_alone_keeps_it_from_a_free_key(
    service: Service, bound: dict[str, Any]
) -> None:
    bounded, free = await holder(service, **bound), await holder(service)

    assert (await bounded.call("POST", f"/v1/keys/{free.id}/rotate")).status == 403
    assert await free.let_in()


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"rate_per_minute": 0}, 403),
        ({"rate_per_minute": USUAL_RATION.per_minute + 1}, 403),
        ({"rate_per_minute": USUAL_RATION.per_minute}, 201),
        ({"rate_per_minute": 1}, 201),
        ({"daily_quota": 7}, 201),
    ],
)
async def test_a_key_without_a_rate_of_its_own_gets_none_that_may_more_than_the_usual(
    service: Service, more: dict[str, Any], status: int
) -> None:
    usual, other = await holder(service), await holder(service, **more)

    assert (await usual.call("POST", f"/v1/keys/{other.id}/rotate")).status == status
    assert await other.let_in()


# The operator.


async def test_the_operator_sees_and_ends_the_keys_of_all_accounts(
    service: Service, operator: OperatorDoor
) -> None:
    ours, theirs = await holder(service), await holder(service, account="other")

    def ids(answer: Told) -> set[str]:
        return {key["id"] for key in answer.document["data"]}

    assert ids(await told(operator, "GET", "/v1/keys")) == {ours.id, theirs.id}
    assert ids(await told(operator, "GET", "/v1/keys?account=other")) == {theirs.id}
    assert ids(await told(operator, "GET", "/v1/keys?account=none")) == set()
    assert (await told(operator, "POST", f"/v1/keys/{theirs.id}/revoke")).status == 200
    assert (await ours.let_in(), await theirs.let_in()) == (True, False)


async def test_the_operator_says_for_whom_and_how_much(
    service: Service, operator: OperatorDoor
) -> None:
    wish = {"name": "x", "account": "other", "rate_per_minute": 0, "daily_quota": 1000}

    made = await told(operator, "POST", "/v1/keys", wish)

    assert made.status == 201
    assert {name: made.document[name] for name in wish} == wish
    assert service.keyring.get("other", made.document["id"])


async def test_the_operator_is_told_what_is_wrong_too(operator: OperatorDoor) -> None:
    answer = await told(operator, "POST", "/v1/keys", {"name": "x", "senders": ["*"]})

    assert (answer.status, answer.document["errors"][0]["pointer"]) == (422, "/senders/0")
    assert (await told(operator, "GET", "/v1/keys/key_x")).status == 404
    assert (await told(operator, "POST", "/v1/keys?account=a", {"name": "x"})).status == 400
    assert (await told(operator, "GET", "/v1/keys?x=1")).status == 400


async def test_without_any_key_the_first_one_can_be_made_here_and_is_needed_from_then_on(
    service: Service,
) -> None:
    first = await service.post("/v1/keys", {"name": "first", "scopes": ["admin"]})

    assert first.status == 201
    assert (await service.get("/v1/keys")).status == 401
    assert (await Holder(service, first.json["key"]).call("GET", "/v1/keys")).status == 200


@pytest.mark.parametrize("wrong", ["undosend_01_" + "s" * 60, "ann%40example.com"])
async def test_what_an_operator_says_in_place_of_an_id_is_not_logged(
    operator: OperatorDoor, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the key itself, or whose it is."""
    with capture_logs() as lines:
        monkeypatch.setattr(operators, "log", get_logger())  # the old one may write elsewhere
        assert (await told(operator, "POST", f"/v1/keys/{wrong}/revoke")).status == 404

    (line,) = (line for line in lines if line["event"] == "operator")
    assert line["path"] == "/v1/keys"
