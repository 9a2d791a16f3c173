"""The page behind a task's "Staged data" link: what a step staged, never the rows themselves.

It knows nothing of Airflow: who may look and where a task staged its data are handed in.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tidegate import stage
from tidegate.errors import MismatchError
from tidegate.model import Increment

if TYPE_CHECKING:
    from fastapi import FastAPI
    from fastapi.responses import HTMLResponse

Find = Callable[[str, str, str, int], Mapping[str, Any]]
"""``(dag_id, run_id, task_id, map_index)`` → the task's XComs by key; -1: a task not mapped."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def create(find: Find, allow: Sequence[Any]) -> FastAPI:
    """The FastAPI app; every route has the dependencies *allow*."""
    from fastapi import FastAPI
    from fastapi.responses import HTMLResponse

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=list(allow))

    def staged(dag_id: str, dag_run_id: str, task_id: str, map_index: int = -1) -> HTMLResponse:
        found = find(dag_id, dag_run_id, task_id, map_index)
        where = _where(found)
        if where is None:
            return _unfinished(found)
        try:
            increment = stage.load_manifest(where)
        except MismatchError:
            return _answer("Gone", "<p>The staged data has been removed by the janitor.</p>", 404)
        return _answer(f"{dag_id} · {task_id}", summary(increment), 200)

    app.get("/staged/{dag_id}/{dag_run_id}/{task_id}", response_class=HTMLResponse)(staged)
    return app


def _where(found: Mapping[str, Any]) -> str | None:
    """The folder that the task staged into."""
    value = found.get("return_value")
    where = value.get("where") if isinstance(value, dict) else None
    return where if isinstance(where, str) and stage.is_staged(where) else None


def _unfinished(found: Mapping[str, Any]) -> HTMLResponse:
    """How far the task is, if it has said so."""
    at = found.get("progress")
    if not isinstance(at, dict):
        return _answer("Nothing staged", "<p>This task has staged nothing (yet).</p>", 404)
    return _answer("Under way", f"<p>{html.escape(str(at.get('text')))}</p>", 200)


def summary(increment: Increment) -> str:
    """An HTML fragment; everything from outside is escaped."""
    request = increment.request
    facts = {
        "stream": request.stream, "run": request.run_id, "step": increment.step,
        "reads": str(request.mode), "rows": f"{increment.rows:,}", "held": f"{increment.held:,}",
        "pages": str(len(increment.pages)), "read number": str(increment.read),
        "from watermark": increment.low.cursor if increment.low else "the beginning",
        "to watermark": increment.high.cursor if increment.high else "unchanged",
        "bound": increment.bound or "none", "fence": str(increment.fence or "none"),
        "source's clock": increment.observed_at, "staged in": increment.where,
    }  # fmt: skip
    if increment.census:
        facts["beyond the cursor"] = _census(increment.census)
    if increment.gone:
        facts["gone at the source"] = f"{increment.gone.rows:,}"
    if request.window:
        facts["window"] = f"{request.window.since} … {request.window.until}"
    parts = [_rows(["", ""], list(facts.items()))]
    if increment.notes:
        parts += ["<h2>Notes</h2>", _rows([""], [(note,) for note in increment.notes])]
    columns = [(c["name"], c["type"], "yes" if c["nullable"] else "no") for c in increment.columns]
    parts += ["<h2>Columns</h2>", _rows(["name", "type", "may be NULL"], columns)]
    if increment.cleaned:
        parts += ["<h2>Cleaning</h2>", _rows(["step", "rows touched"], list(increment.cleaned))]
    if increment.checks:
        checks = [(c.expectation, dict(c.arguments), c.rows, c.failed) for c in increment.checks]
        parts += [
            "<h2>Expectations</h2>",
            _rows(["expectation", "arguments", "rows checked", "failed"], checks),
        ]
    pages = [(page.name, f"{page.rows:,}", page.digest) for page in increment.pages[:200]]
    return "".join([*parts, "<h2>Pages</h2>", _rows(["file", "rows", "digest"], pages)])


def _census(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in counts.items())


def _rows(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["<table><tr>", *(f"<th>{html.escape(name)}</th>" for name in head), "</tr>"]
    for row in rows:
        lines += ["<tr>", *(f"<td>{html.escape(str(cell))}</td>" for cell in row), "</tr>"]
    return "".join([*lines, "</table>"])


def _answer(title: str, body: str, status: int) -> HTMLResponse:
    from fastapi.responses import HTMLResponse

    text = (
        f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title>{_STYLE}"
        f"<h1>{html.escape(title)}</h1>{body}"
    )
    return HTMLResponse(text, status, headers=HEADERS)


_STYLE = """<style>
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;
color:#1a2733}
h1{font-size:1.4rem}h2{font-size:1.05rem;margin-top:1.6rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;
border-bottom:1px solid #d9e1e8;vertical-align:top;overflow-wrap:anywhere}
th{color:#557;white-space:nowrap}
</style>"""
