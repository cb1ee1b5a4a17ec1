"""Write the parts of the documentation that the code knows best: `make docs`.

The life of an email comes from ``lifecycle.RULES``, the options from ``Settings``. A test
compares, so that neither page can lie.
"""

from __future__ import annotations

import re
from pathlib import Path

from undosend.domain.change import Event
from undosend.domain.email import FINAL, State
from undosend.domain.lifecycle import RULES, Condition, Rule
from undosend.settings import Settings, option, variable

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"
LIFECYCLE = DOCS / "lifecycle.md"


def diagram() -> str:
    """Return the table as a Mermaid state diagram."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> draft: save", "    [*] --> held: send"]
    arrows: dict[tuple[str, str], list[str]] = {}
    for event, rule in RULES.items():
        for source in (state for state in State if state in rule.sources):
            for _, target in rule.to:
                arrows.setdefault((source, target), []).append(event)
    for (source, target), events in arrows.items():
        lines.append(f"    {source} --> {target}: {', '.join(events)}")
    lines += [f"    {state} --> [*]" for state in State if state in FINAL]
    return "\n".join([*lines, "```"])


def transitions() -> str:
    """Return the table as a table."""
    head = "| event | fired by | from | to | only if |\n|---|---|---|---|---|\n"
    return head + "\n".join(_transition(event, rule) for event, rule in RULES.items())


def _transition(event: Event, rule: Rule) -> str:
    sources = ", ".join(state for state in State if state in rule.sources)
    targets = "; ".join(_target(condition, state) for condition, state in rule.to) or "gone"
    only_if = "; ".join(condition.value for condition in rule.when)
    return f"| {event} | {rule.by} | {sources} | {targets} | {only_if} |"


def _target(condition: Condition | None, state: State) -> str:
    return f"{state} if {condition.value}" if condition else str(state)


def options() -> str:
    """Return every option, with its variable, default and meaning."""
    head = "| option | variable | default | meaning |\n|---|---|---|---|\n"
    rows = []
    for name, field in Settings.model_fields.items():
        default = "off" if field.default is False else field.default
        shown = "" if default is None else f"`{default}`"
        rows.append(f"| `{option(name)}` | `{variable(name)}` | {shown} | {field.description} |")
    return head + "\n".join(rows)


def filled(text: str, parts: dict[str, str]) -> str:
    """Return the text with each part between its two markers."""
    for name, part in parts.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        text = place.sub(lambda found, part=part: f"{found[1]}{part}\n{found[2]}", text)  # type: ignore[misc]
    return text


PAGES = {
    README: {"options": options},
    LIFECYCLE: {"diagram": diagram, "transitions": transitions},
}


def main() -> None:
    """Write the pages."""
    for page, parts in PAGES.items():
        new = filled(page.read_text(), {name: made() for name, made in parts.items()})
        page.write_text(new)


if __name__ == "__main__":
    main()
