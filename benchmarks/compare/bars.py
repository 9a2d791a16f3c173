"""Bars as SVG, written by hand: a panel for each scenario."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from compare.calls import FIRST, SCENARIOS
from compare.report import Results
from compare.tools import TOOLS, Tool

WIDTH, LABEL, LINE, GAP, TOP = 760, 210, 22, 40, 44
COLORS = {"ours": "#1a6fb5", "peer": "#8a94a0", "limit": "#d5d9de"}
INK, FAINT = "#1f2328", "#59636e"


def pictures(results: Results) -> dict[str, str]:
    """File name → SVG."""
    seconds = {
        (f"{scenario}, {results.rows:,} rows" if scenario == FIRST else scenario): [
            (tool, results.seconds(tool.name, scenario)) for tool in _shown(results, scenario)
        ]
        for scenario in SCENARIOS
    }
    memory = [
        (tool, max((run.cost.mb for run in results.of(tool.name, FIRST)), default=None))
        for tool in _shown(results, FIRST)
    ]
    busy = "" if results.quiet else ", machine busy with other work"
    below = f"{results.date}{busy}; median of {results.rounds}, less is better"
    return {
        "benchmark-seconds": picture("Seconds by the clock", below, seconds, "{:.2f} s"),
        "benchmark-memory": picture(
            "Most resident memory", f"{results.date}; less is better",
            {f"first load, {results.rows:,} rows": memory}, "{:.0f} MB",
        ),
    }  # fmt: skip


def picture(
    title: str, below: str, panels: dict[str, list[tuple[Tool, float | None]]], form: str
) -> str:
    """One picture; bars of a panel have one scale."""
    parts, y = [], TOP + 16
    for name, bars in panels.items():
        parts.append(_text(12, y + 14, name, weight=600))
        parts += _panel(bars, y + 24, form)
        y += 24 + LINE * len(bars) + GAP - 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" '
        f'height="{y}" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, '
        f'sans-serif" font-size="13">\n<title>{escape(title)}</title>\n'
        f'<rect width="{WIDTH}" height="{y}" fill="#ffffff"/>\n'
        + "\n".join(
            [_text(12, 26, title, size=17, weight=600), _text(12, 46, below, FAINT), *parts]
        )
        + "\n</svg>\n"
    )


def _shown(results: Results, scenario: str) -> Sequence[Tool]:
    """Those that take part; one that failed is shown as such."""
    return [
        tool
        for tool in TOOLS
        if tool.kind != "warm" and (results.of(tool.name, scenario) or results.failed(tool.name))
    ]


def _panel(bars: Sequence[tuple[Tool, float | None]], y: int, form: str) -> list[str]:
    most = max((value or 0 for _, value in bars), default=0) or 1
    parts = []
    for number, (tool, value) in enumerate(bars):
        top, length = y + number * LINE, (WIDTH - LABEL - 90) * (value or 0) / most
        parts += [
            _text(LABEL - 8, top + 14, tool.title, anchor="end"),
            _bar(LABEL, top + 2, max(length, 1), COLORS[tool.kind]),
            _text(LABEL + length + 6, top + 14, form.format(value) if value else "failed", FAINT),
        ]
    return parts


def _bar(x: float, y: float, length: float, color: str) -> str:
    size = f'width="{length:.1f}" height="{LINE - 6}"'
    return f'<rect x="{x:.0f}" y="{y:.0f}" {size} rx="2" fill="{color}"/>'


def _text(
    x: float, y: float, text: str, color: str = INK, *, size: int = 13, weight: int = 400,
    anchor: str = "start",
) -> str:  # fmt: skip
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" fill="{color}" font-size="{size}" '
        f'font-weight="{weight}" text-anchor="{anchor}">{escape(text)}</text>'
    )
