"""The figures of a run in one line, and of many in a table."""

from __future__ import annotations

from tests.chaos.checker import Report

_FAULTS = ("lost", "sent_after_undo", "over_bound", "early")
_HEAD = [
    *("variant", "kills", "acked", "contested", "won"),
    *("lost", "sent after undo", "over", "early", "other"),
    *("extra copies", "uncertain", "unknown", "late p50", "p99", "max", "seconds"),
]


def line(variant: str, report: Report) -> list[str]:
    """Return the cells of one run."""
    counts = report.counts
    other = sum(number for fault, number in report.faults.items() if fault not in _FAULTS)
    numbers = [
        counts["kills"],
        counts["acked"],
        counts["contested"],
        counts["contested_won"],
        *(counts[fault] for fault in _FAULTS),
        other,
        counts["duplicated"],
        counts["uncertain"],
        counts["is_unknown"],
    ]
    late = [f"{seconds:.2f}" for seconds in report.late]
    return [variant, *(f"{number:,}" for number in numbers), *late, f"{report.seconds:.0f}"]


def table(lines: list[list[str]]) -> str:
    """Return the table as text, in columns."""
    rows = [_HEAD, *lines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    shown = [" | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    rule = "-|-".join("-" * width for width in widths)
    return "\n".join([shown[0], rule, *shown[1:]])


def told(report: Report) -> str:
    """Return the faults in words."""
    return ", ".join(f"{number} {fault}" for fault, number in report.faults.items())
