"""Texts and small summaries for people: a stream's documentation, what a step or a load did."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tidegate.model import Increment, Report, Window
from tidegate.pipeline.models import Source, Stream


def stream(source: Source, name: str, spec: Stream) -> str:
    """Markdown that explains the stream, for the DAG's page."""
    lines = [
        f"# {source.name}.{name}",
        spec.description,
        "",
        "| | |",
        "|---|---|",
        f"| source | `{spec.what}` through connection `{source.connection}` |",
        f"| primary key | {_names(spec.primary_key)} |",
        f"| cursor | `{spec.cursor_column}`, {_lookback(spec)} |" if spec.cursor_column else "",
        f"| schedule | `{spec.schedule}`{_watched(spec)} |",
        f"| deletes | {_deletes(spec)} |",
        f"| held rows | stop above {spec.stop_above} |" if spec.stop_above is not None else "",
        "",
        _list("Cleaning", [_step(step) for step in spec.clean]),
        _list("Expectations", [_expectation(item) for item in spec.expect]),
        _list("Entities", [_entity(item) for item in spec.load.entities]),
        _list("Relations", [_relation(item) for item in spec.load.relations]),
        _PROMISE,
        f"Rows that fail wait in quarantine: `tidegate quarantine list {source.name}.{name}`.",
        "When the rule is mended, trigger this DAG with mode **replay** to try them again.",
        "",
    ]
    if spec.has_windows:
        history = f"{source.name}.{name}.backfill"
        lines.append(f"History is read by the DAG `{history}` (Trigger → Backfill).")
    return "\n".join(lines)


_PROMISE = (
    "Each run pulls what is new after the watermark, and loads it page by page, the last one in "
    "one transaction with the new watermark: any task may be retried or cleared at any time. Of "
    "two runs at once one is skipped, and says which one goes on."
)


def backfill(source: Source, name: str, spec: Stream) -> str:
    """Markdown for the window DAG."""
    column = spec.backfill.by or spec.cursor_column
    return "\n".join(
        [
            f"# {source.name}.{name}.backfill",
            f"Reads `{spec.what}` in windows of one {spec.backfill.every} of `{column}`, each in",
            f"chunks of {spec.backfill.chunk_rows:,} rows or so: as many at once as the pool has",
            "slots. To read a chunk once more, clear its tasks.",
            "No clock runs it: use **Trigger → Backfill**, or",
            "",
            f"    airflow backfill create --dag-id {source.name}.{name}.backfill \\",
            "        --from-date 2026-01-01 --to-date 2026-01-31",
            "",
            "It may run beside the sync, twice, or in any order: newer content is never",
            "overwritten by older, and the watermark does not move.",
            "",
            "Triggered without an interval, it reads everything. A large first load the sync",
            "leaves to it, unless it is paused.",
        ]
    )


def broken(name: str, message: str) -> str:
    """Markdown for a stream that cannot run."""
    quoted = "\n".join("    " + line for line in message.splitlines())
    return (
        f"# {name} is broken\n\nMend the pipeline file; this DAG mends itself then.\n\n{quoted}\n"
    )


def window(cut: Window) -> str:
    """``2026-03-01 00:00:00 … 2026-03-01 12:30:00, about 250,000 rows``."""
    since, until = (
        edge.replace("T", " ").removesuffix("+00:00").removesuffix(".000000")
        for edge in (cut.since, cut.until)
    )
    return f"{since} … {until}" + ("" if cut.rows is None else f", about {cut.rows:,} rows")


def brief(increment: Increment) -> dict[str, Any]:
    """What travels through XCom: where the rows are, how many, how far. Never the rows."""
    cut = increment.request.window
    return {
        "where": increment.where,
        "rows": increment.rows,
        "held": increment.held,
        "pages": len(increment.pages),
        "mode": str(increment.request.mode),
        "window": window(cut) if cut else None,
        "low": increment.low.cursor if increment.low else None,
        "high": increment.high.cursor if increment.high else None,
        "bound": increment.bound,
        "gone": increment.gone.rows if increment.gone else 0,
        "census": dict(increment.census),
        "notes": list(increment.notes),
        "touched": [list(item) for item in increment.cleaned],
        "failed_expectations": {
            _check(check.expectation, check.arguments): check.failed
            for check in increment.checks
            if check.failed
        },
    }


def fates(result: Report) -> str:
    """What a replay made of the rows it tried again, in one line."""
    tried = f"{result.pulled:,} rows of the quarantine tried again"
    found = [f"{count:,} {state}" for state, count in result.details.get("fates", {}).items()]
    return f"{tried}: {', '.join(found)}" if found else tried


def report(result: Report) -> dict[str, Any]:
    """A load's numbers as JSON."""
    values = asdict(result)
    values["mode"] = str(result.mode)
    values["watermark"] = result.watermark.cursor if result.watermark else None
    values["details"] = dict(result.details)
    return values


def _watched(spec: Stream) -> str:
    if spec.pace:
        return ": the more often, the more lately something was found"
    return ", and at once when a look at the source shows something new" if spec.watched else ""


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _lookback(spec: Stream) -> str:
    lookback = getattr(spec, "lookback", None)
    if lookback is None:
        return "read from the last safe bound on"
    return f"read again {lookback} below the safe bound"


def _deletes(spec: Stream) -> str:
    ways = []
    if spec.deleted is not None:
        values = f" in {list(spec.deleted.values)}" if spec.deleted.values else ""
        ways.append(f"rows with `{spec.deleted.column}`{values} become tombstones")
    if spec.verifies and spec.verify.repair:
        ways.append("rows that a verification finds gone do")
    if spec.deletes.full:
        ways.append("rows that a full run finds gone do")
    if not ways:
        return "not seen (no soft-delete column, no verification)"
    return f"{'; '.join(ways)}; none when more than {spec.deletes.brake} are gone at once"


def _list(title: str, items: list[str]) -> str:
    if not items:
        return ""
    return "\n".join([f"**{title}**", "", *(f"- {item}" for item in items), ""])


def _step(step: Any) -> str:
    arguments = step.model_dump(exclude_unset=True, mode="json")
    return f"`{step.name}` {_arguments(arguments)}"


def _expectation(item: Any) -> str:
    return f"`{item.name}` {_arguments(item.arguments)}"


def _entity(item: Any) -> str:
    attributes = ", ".join(item.named) or "no attributes"
    return f"**{item.type}** by {_names(item.key)}: {attributes}"


def _relation(item: Any) -> str:
    ends = [end if isinstance(end, str) else end.type for end in (item.from_, item.to)]
    return f"{ends[0]} **{item.type}** {ends[1]}"


def _check(name: str, arguments: Any) -> str:
    column = arguments.get("column")
    return f"{name}({column})" if column else name


def _arguments(arguments: Any) -> str:
    return ", ".join(f"{name}: `{value}`" for name, value in arguments.items())
