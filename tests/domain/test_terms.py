"""An email is found by whole words, however they are written, and by nothing else."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import Literal, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undosend.domain.email import Address, Content
from undosend.domain.terms import asked, tag_term, terms_of

Form: TypeAlias = Literal["NFC", "NFD", "NFKC", "NFKD"]
FORMS: tuple[Form, ...] = ("NFC", "NFD", "NFKC", "NFKD")

MAIL = Content(
    sender=Address("Ann.Lee@example.com", "Ann Lee"),
    to=(Address("bob@example.org", "Bob"),),
    cc=(Address("cem@example.org", "Cem Ünal"),),
    bcc=(Address("eve@hidden.example"),),
    reply_to=(Address("desk@example.net", "Help Desk"),),
    subject="Straße Nr. 7: it's done",
    text="unheard",
    html="<b>unseen</b>",
    headers=(("X-Secret", "unread"),),
    tags=(("kind", "bill"), ("Team", "A-1")),
)


def finds(query: str, content: Content = MAIL) -> bool:
    terms = asked(query)
    assert terms, "a question that asks for nothing finds everything"
    return terms_of(content).issuperset(terms)


@pytest.mark.parametrize(
    "query",
    [
        "straße",
        "STRASSE",
        "strasse 7",
        "7 nr",
        "it's",
        "ann lee",
        "lee, ann",
        "ann.lee@example.com",
        "ANN.LEE@EXAMPLE.COM",
        "<bob@example.org>;",
        '"Bob" <bob@example.org>',
        "eve@hidden.example",
        "hidden",
        "desk help",
        "UNAL".replace("U", "Ü"),
        "u\u0308nal",
        "\uff22\uff4f\uff42",
    ],
)
def test_words_and_addresses_are_found_in_any_case_and_form(query: str) -> None:
    assert finds(query)


@pytest.mark.parametrize(
    "query", ["unheard", "unseen", "unread", "stra", "lee@example.com", "bill", "ann bob zoe"]
)
def test_bodies_headers_tags_and_parts_of_words_are_not_found(query: str) -> None:
    assert not finds(query)


@pytest.mark.parametrize("query", ["", " ", "...", "<>", "@", "—"])
def test_a_query_without_words_asks_for_nothing(query: str) -> None:
    assert asked(query) == ()


def test_what_is_asked_twice_is_asked_once_in_the_order_of_the_query() -> None:
    assert asked("b a B x@y.z b") == ("w:b", "w:a", "a:x@y.z")
    assert asked("a@ @b") == ("w:a", "w:b")


def test_a_tag_is_found_by_its_name_and_value_in_their_own_case() -> None:
    terms = terms_of(MAIL)

    assert {tag_term("kind", "bill"), tag_term("Team", "A-1")} <= terms
    assert tag_term("kind", "Bill") not in terms
    assert tag_term("team", "A-1") not in terms


def test_an_empty_draft_is_found_by_nothing() -> None:
    assert terms_of(Content()) == frozenset()


def test_a_word_is_found_by_its_first_characters_where_it_is_very_long() -> None:
    content = replace(MAIL, subject="x" * 900)

    assert max(map(len, terms_of(content))) == 2 + 64
    assert finds("x" * 900, content)
    assert not finds("x" * 63, content)


@given(st.text(min_size=1), st.sampled_from(FORMS))
def test_a_subject_is_found_by_its_own_words(subject: str, form: Form) -> None:
    content = Content(subject=subject)
    words = [term for term in asked(subject) if term.startswith("w:")]

    assert terms_of(content).issuperset(words)
    other = replace(content, subject=unicodedata.normalize(form, subject))
    assert terms_of(other) == terms_of(content)
