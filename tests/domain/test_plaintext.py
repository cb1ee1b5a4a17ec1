"""The text alternative: what a reader sees, whatever the HTML is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undosend.domain.plaintext import GROWTH, from_html


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("Hi", "Hi"),
        ("<p>Hi</p>", "Hi"),
        ("<p>Hi</p><p>Ann</p>", "Hi\n\nAnn"),
        ("<p>Hi<p>Ann", "Hi\n\nAnn"),
        ("<h1>Hi</h1>\n\n<div>Ann</div>\n<div>Lee</div>", "Hi\n\nAnn\nLee"),
        ("<div><div><div>a</div></div></div><div>b</div>", "a\nb"),
        ("one<br>two<br/>three<BR />four", "one\ntwo\nthree\nfour"),
        ("one<br><br>two", "one\n\ntwo"),
        ("<p>one</p><br><br><br><p>two</p>", "one\n\ntwo"),
        ("  a \n\t b<b> c </b>d ", "a b c d"),
        ("a<b>b</b>c", "abc"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><th>c</th></tr></table>d", "a b\nc\n\nd"),
        ("a<hr>b", "a\n\n----\n\nb"),
        ("x<pre>\n a\n   b\n\n<b>c</b>\n</pre>y", "x\n\n a\n   b\n\nc\n\ny"),
    ],
)
def test_blocks_and_line_breaks_become_lines(html: str, text: str) -> None:
    assert from_html(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<ul><li>a</li><li>b</li></ul>", "* a\n* b"),
        ("<p>x</p><ul><li>a<li>b</ul>y", "x\n\n* a\n* b\n\ny"),
        ("<ol><li>a</li><li>b</li></ol>", "1. a\n2. b"),
        ("<ol><li>a<ul><li>b</ul><li>c</ol>", "1. a\n  * b\n2. c"),
        ("<ul><li></li><li>b</li></ul>", "* b"),
        ("<li>a", "* a"),
        ("</ul></ol><ol><li>a", "1. a"),
    ],
)
def test_lists_have_markers(html: str, text: str) -> None:
    assert from_html(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ('<a href="https://b.c/?x=1&amp;y=2">the page</a>.', "the page <https://b.c/?x=1&y=2>."),
        ("<a href='https://b.c'>https://b.c</a>", "https://b.c"),
        ("<A HREF=https://b.c>x</A>", "x <https://b.c>"),
        ('<a href="mailto:a@b.c">a@b.c</a>', "a@b.c"),
        ('<a href="mailto:a@b.c">Ann</a>', "Ann <mailto:a@b.c>"),
        ('<a href="#top">up</a>', "up"),
        ('<a href="javascript:alert(1)">x</a>', "x"),
        ('<a href="JAVASCRIPT:https://">x</a>', "x"),
        ('<a href="/relative">x</a>', "x"),
        ("<a name=x>x</a>", "x"),
        ('<a href="https://b.c"><img src="x.png"></a>', "<https://b.c>"),
        ('<a href="https://b.c"><img src="x.png" alt="Logo"></a>', "Logo <https://b.c>"),
        ('<a href="https://b.c"><div>Go</div></a>on', "Go <https://b.c>\non"),
        ('<a href="https://b.c">x<a href="https://d.e">y', "x <https://b.c>y <https://d.e>"),
        ('<a title=">" href="https://b.c">x</a>', "x <https://b.c>"),
        ('<a href="https://b.c/> <\n x">y</a>', "y <https://b.c/x>"),
    ],
)
def test_links_show_where_they_lead(html: str, text: str) -> None:
    assert from_html(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<head><title>T</title><style>p{}</style></head><body>x", "x"),
        ("<head><title>T</title>x", "x"),
        ("<script>alert('</p>')</script>x", "x"),
        ("<SCRIPT type=a>1</ScRiPt\n >x", "x"),
        ("<script>1</scriptx></script>x", "x"),
        ("<style>x", ""),
        ("<style", ""),
        ("<!-- <p>no</p> -->x", "x"),
        ("<!-- x", ""),
        ("<!doctype html><html>x", "x"),
        ("<![CDATA[x]]>y", "y"),
        ("<![if !mso]>x<![endif]>", "x"),
        ("<?xml version='1.0'?>x", "x"),
        ("<img alt='Logo &amp; co'>", "Logo & co"),
        ("<img>x<img alt>", "x"),
        ("&lt;b&gt; &amp;amp; &hearts;&nbsp;&#8364; &#x20AC;", "<b> &amp; \u2665 \u20ac \u20ac"),
        ("&unknown; & &; &#;", "&unknown; & &; &#;"),
        ("&#0;&#xD800;&#x110000;", "\ufffd\ufffd\ufffd"),
        (f"&#{'9' * 5000};x", "\ufffd;x"),
        ("5 < 6 > 4 <3 <", "5 < 6 > 4 <3 <"),
        ("</>x</ y>z", "xz"),
        ("<p don't>x", "x"),
        ("<o:p>x</o:p><my-tag>y</my-tag>", "xy"),
        ("x<a href='https://b.c>y</a> z", "x"),
    ],
)
def test_odd_and_invisible_markup_leaves_what_a_reader_sees(html: str, text: str) -> None:
    assert from_html(html) == text


FRAGMENTS = st.sampled_from(
    [
        *"<>&;#/!?-='\" \n\r\t\x00xX9\u00e4\U0001f600",
        "<p>", "</p>", "<br>", "<li>", "<ol>", "</ol>", "<ul>", "<pre>", "</pre>", "<hr>", "<td>",
        "<a href=tel:1>", "</a>", "<a href='", "<img alt=x>", "<!--", "-->", "<![", "]]>",
        "<script", "<script>", "</script>", "<title>", "&nGt;", "&lt", "&#x", "&#9999999999",
    ]
)  # fmt: skip


@settings(max_examples=500)
@given(st.lists(FRAGMENTS | st.text(max_size=5), max_size=40).map("".join))
def test_any_input_gives_text_without_raising_within_the_growth_promised(html: str) -> None:
    text = from_html(html)
    assert len(text.replace("\n", "\r\n").encode()) <= GROWTH * len(html.encode())
    assert text == text.rstrip("\n")
    assert "\n\n\n" not in text
    assert "\r" not in text


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1))
def test_escaped_words_come_back_as_they_were(word: str) -> None:
    escaped = word.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert from_html(f"<p>{escaped}</p>") == word


BOMBS = [
    *("<", "<a", "<a ", "</", "</a", "<!", "<!-", "<!--", "<![", "<?", "&", "&#", "&a", "&#9"),
    *("<a b='", "<a b=", "<a/", "<a =", "<script", "<script>", "<script </", "<pre>", "<ul>"),
    *("<ol><li>x", "<a href=tel:1>", "<a href=tel:1>x", "<img alt='", "<br>", "<b>", "x<p>", "\n"),
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("bomb", BOMBS)
def test_repeated_beginnings_take_linear_time(bomb: str) -> None:
    # Quadratic work over so many characters would take minutes.
    from_html(bomb * (300_000 // len(bomb)))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("filler", [" ", "=", "= ", "a", "a ", "'", "/", "\n", "<"])
def test_endless_attributes_take_linear_time(filler: str) -> None:
    for tag in ("a", "img", "b", "script"):
        from_html(f"<{tag} x{filler * 300_000}>x")


def test_list_numbers_and_depth_stay_within_the_growth_promised() -> None:
    html = "<ol>" * 6 + "<li>x" * 120_000
    assert len(from_html(html).replace("\n", "\r\n")) <= GROWTH * len(html)
