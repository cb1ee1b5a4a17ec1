"""The text alternative of HTML-only mail (RFC 2046 §5.1.4).

A scanner of our own instead of ``html.parser``: that one needs 5 µs a tag (2 s for the largest
body we take, on the event loop), raises on ``<![x`` and on a character reference of 5,000 digits,
and changes its mind about broken markup between patch releases of CPython.
"""

from __future__ import annotations

import re
from html import unescape

GROWTH = 4
"""Octets of text (line ends as CRLF) that one octet of HTML can become at most."""

# Each alternative takes what it began, up to the end of the input if need be, and none gives
# anything back (possessive quantifiers): every character is looked at once, whatever is broken.
_ATTRIBUTES = r"""(?:[^>=]++|=\s*+(?:"[^"]*+"?+|'[^']*+'?+)?+)*+"""
_TOKEN = re.compile(
    rf"""
    (?P<text> (?: [^<]++ | < (?![a-z!?/]) )++ )
  | <!--  .*? (?: --> | \Z )
  | <(?P<dropped> script | style | title | noembed | noframes | template | xmp )
        (?=[\s/>]) {_ATTRIBUTES} .*? (?: </(?P=dropped)(?=[\s/>]) [^>]*+ >?+ | \Z )
  | <(?P<tag> /?[a-z][a-z0-9]*+ ) (?P<attributes> {_ATTRIBUTES} ) (?P<end> > )?+
  | <[!?/] [^>]*+ >?+
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII | re.DOTALL,
)
_ATTRIBUTE = re.compile(r"""([^\s=/>]++)(?:\s*+=\s*+(?:"([^"]*+)"?+|'([^']*+)'?+|([^\s>]*+)))?+""")
_SPACES = re.compile(r"[ \t\n\r\f]+")
_ENDLESS_REFERENCE = re.compile(r"&#[0-9]{100,}")  # int() refuses 4,301 digits
_LINKS = ("http://", "https://", "mailto:", "tel:")
_BLOCKS = (
    (1, "address article aside body center dd div dl dt fieldset figcaption figure footer form"),
    (1, "header li main nav section tr"),
    (2, "blockquote h1 h2 h3 h4 h5 h6 hr p pre table"),
)
_BREAKS = {tag: count for count, tags in _BLOCKS for tag in tags.split()}
_DEEPEST = 3


def from_html(html: str) -> str:
    """Return the text a reader would see: paragraphs, lists, links as ``text <url>``, alt texts.

    Linear in the length of the input; never raises. No line end stands at the end.
    """
    page = _Page()
    for match in _TOKEN.finditer(html):
        if (text := match["text"]) is not None:
            page.write(_decoded(text))
        elif match["end"]:  # a tag that the input's end cuts off means nothing (HTML §13.2.5)
            page.tag(match["tag"].lower(), match["attributes"])
    page.close_link()
    return "".join(page.out)


class _Page:
    """Text so far; line breaks, spaces and list markers wait until there is text after them."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.breaks = 0
        self.space = False
        self.marker = ""
        self.preformatted = False
        self.lists: list[int] = []  # the next number, or 0 where items have none
        self.link = ""
        self.link_start = 0

    def write(self, text: str) -> None:
        """Add text; white space counts once, and not at the ends of lines (CSS Text §4.1)."""
        if self.preformatted:
            self.write_lines(text)
            return
        text = _SPACES.sub(" ", text)
        self.space |= text[:1] == " "
        if bare := text.strip(" "):
            self.put(bare)
            self.space = text[-1] == " "

    def write_lines(self, text: str) -> None:
        """Add preformatted text: lines and the spaces in them stay."""
        for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")):
            if number:
                self.breaks, self.space = min(self.breaks + 1, 2), False
            if line.strip():
                self.put(line.rstrip())
                self.space = line[-1] == " "

    def put(self, text: str) -> None:
        """Append text that begins and ends with something to see, after whatever has waited."""
        if self.breaks and self.out:
            self.out.append("\n" * self.breaks)
        elif self.space and self.out:
            self.out.append(" ")
        self.out += self.marker, text
        self.breaks, self.marker, self.space = 0, "", False

    def tag(self, tag: str, attributes: str) -> None:
        """Do what the tag means for plain text; most mean nothing."""
        match tag:
            case "br":
                self.breaks = min(self.breaks + 1, 2)
            case "a" | "/a":
                self.close_link()
                if tag == "a":
                    self.open_link(_attribute(attributes, "href"))
            case "img":
                self.write(_attribute(attributes, "alt"))
            case "td" | "th":
                self.space = True
            case "ul" | "ol":
                self.break_line(1 if self.lists else 2)
                self.lists.append(1 if tag == "ol" else 0)
            case "/ul" | "/ol":
                del self.lists[-1:]
                self.break_line(1 if self.lists else 2)
            case _:
                self.block(tag)

    def block(self, tag: str) -> None:
        """Begin or end a block: what follows stands on a line of its own."""
        self.break_line(_BREAKS.get(tag.removeprefix("/"), 0))
        if tag == "li":
            self.marker = self.next_marker()
        elif tag == "hr":
            self.write("----")
            self.break_line(2)
        elif tag in ("pre", "/pre"):
            self.preformatted = tag == "pre"

    def break_line(self, count: int) -> None:
        self.breaks = max(self.breaks, count)

    def next_marker(self) -> str:
        # Deep lists stop moving right: the output stays linear in the input.
        indent = "  " * min(len(self.lists) - 1, _DEEPEST)
        if not self.lists or not self.lists[-1]:
            return indent + "* "
        self.lists[-1] += 1
        return f"{indent}{self.lists[-1] - 1}. "

    def open_link(self, url: str) -> None:
        if url.lower().startswith(_LINKS):
            # With white space or angle brackets in it, it would not end where it should.
            self.link = re.sub(r"[\s<>]", "", url)
        self.link_start = len(self.out)

    def close_link(self) -> None:
        """Put the open link's address after its text, unless the text is the address."""
        url, self.link = self.link, ""
        label = "".join(self.out[self.link_start :]).strip() if url else ""
        if label in (url, url.partition(":")[2]):
            return  # also without any link: both are empty then
        if label:
            self.out.append(f" <{url}>")  # before any break that the link's content asked for
        else:
            self.write(f"<{url}>")


def _attribute(attributes: str, wanted: str) -> str:
    for match in _ATTRIBUTE.finditer(attributes):
        name, *values = match.groups("")
        if name.lower() == wanted:
            return _decoded("".join(values)).strip()
    return ""


def _decoded(text: str) -> str:
    if "&" in text:
        text = unescape(_ENDLESS_REFERENCE.sub("\ufffd", text))
    return text.replace("\xa0", " ")
