"""Is the store what the source says, and did it get there in order? Shares no code with Tidegate.

Bare drivers, and the two databases' own tables. The source tells what ever was true (``item_log``);
the store tells what reigned, and when (``_seq``).

lost        rows whose newest version the store lacks, neither as record nor in quarantine
duplicated  versions that reigned twice, rows that live twice, entities that do not stand for a row
stale       versions that reigned after a newer one of the same row
backward    steps of a watermark that goes back
other       everything else that must hold, in words
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Any

from faults.bare import Readable

STREAM = "items.item"
NOW = "items__item"
PAST = "items__item__history"
Version = tuple[int, int, Decimal | None, bool]
"""Row, revision, amount (None: it is no number), whether it is gone."""


@dataclass
class Verdict:
    """What the checker found; all is well when it is :attr:`clean`."""

    lost: int = 0
    duplicated: int = 0
    stale: int = 0
    backward: int = 0
    other: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.duplicated or self.stale or self.backward or self.other)


def check(source: Readable, store: Readable) -> Verdict:
    """Compare the two, which are at rest."""
    verdict = Verdict()
    rows = {row[0]: _version(row) for row in source.rows("SELECT id, rev, amount, gone FROM item")}
    log = {_version(row) for row in source.rows("SELECT id, rev, amount, gone FROM item_log")}
    tables = _tables(store)
    if NOW not in tables:
        verdict.lost = len(rows)
        return verdict
    live = store.rows(f"SELECT _key, id, rev, amount, _deleted, _seq, _hash FROM {NOW}")
    past = store.rows(
        f"SELECT _key, id, rev, amount, _deleted, _seq, _seq_to, _hash FROM {PAST} "
        "WHERE rev IS NOT NULL"
    )
    _newest(verdict, rows, live, _held(store))
    _reigns(verdict, live, past)
    _true(verdict, log, [row[1:5] for row in live] + [row[1:5] for row in past])
    _drawn(verdict, live, store)
    _ledger(verdict, store, live, past)
    if store.kind == "sqlite":
        (answer,) = store.rows("PRAGMA integrity_check")[0]
        if answer != "ok":
            verdict.other.append(f"the store's file is broken: {answer}")
    return verdict


def _version(row: tuple[Any, ...]) -> Version:
    number, rev, amount, gone = row
    return int(number), int(rev), None if amount == "?" else Decimal(str(amount)), bool(gone)


def _tables(store: Readable) -> set[str]:
    query = {
        "sqlite": "SELECT name FROM sqlite_master",
        "postgres": "SELECT tablename FROM pg_catalog.pg_tables",
    }[store.kind]
    return {name for (name,) in store.rows(query)}


def _held(store: Readable) -> dict[int, int]:
    """Row → revision, of what waits in quarantine."""
    query = f"""SELECT key, "row" FROM tidegate_quarantine
                WHERE stream = '{STREAM}' AND state = 'held'"""
    return {int(key): int(json.loads(text)["rev"]) for key, text in store.rows(query)}


def _newest(
    verdict: Verdict, rows: dict[int, Version], live: list[Any], held: dict[int, int]
) -> None:
    """Each row's newest version reigns; one that cannot be read waits in quarantine."""
    reigning = {row[1]: _version(row[1:5]) for row in live}
    counts = Counter(row[1] for row in live)
    verdict.duplicated += sum(count - 1 for count in counts.values())
    for number, version in rows.items():
        if version[2] is None:
            fine = held.get(number) == version[1]
        else:
            fine = reigning.get(number) == version and number not in held
        verdict.lost += not fine
    if strangers := sorted(set(reigning) - set(rows)):
        verdict.other.append(f"rows that the source does not have: {strangers[:5]}")


def _reigns(verdict: Verdict, live: list[Any], past: list[Any]) -> None:
    """Per row: revisions rise, no version reigns twice, reigns follow each other without a gap."""
    reigns: dict[str, list[tuple[int, int | None, int, int]]] = {}
    for key, _, rev, _, _, since, content in live:
        reigns.setdefault(key, []).append((since, None, rev, content))
    for key, _, rev, _, _, since, to, content in past:
        if since < to:
            reigns.setdefault(key, []).append((since, to, rev, content))
    for key, versions in reigns.items():
        versions.sort()
        contents = Counter(content for *_, content in versions)
        verdict.duplicated += sum(count - 1 for count in contents.values())
        for (_, to, rev, _), (since, _, newer, _) in pairwise(versions):
            verdict.stale += newer < rev
            if to != since:
                verdict.other.append(f"row {key}: reigns until {to}, the next since {since}")


def _true(verdict: Verdict, log: set[Version], stored: list[Any]) -> None:
    invented = sorted({_version(row) for row in stored} - log)
    if invented:
        verdict.other.append(f"versions that never were at the source: {invented[:5]}")


def _drawn(verdict: Verdict, live: list[Any], store: Readable) -> None:
    """Entities are the live rows, with their content."""
    wanted = {str(row[1]): (row[2], Decimal(str(row[3]))) for row in live if not row[4]}
    found = {}
    for key, text in store.rows("SELECT key, attributes FROM entity WHERE type = 'Item'"):
        cells = text if isinstance(text, dict) else json.loads(text, parse_float=Decimal)
        found[key] = cells["rev"], Decimal(str(cells["amount"]))
    wrong = {key for key in wanted | found if wanted.get(key) != found.get(key)}
    if wrong:
        verdict.other.append(f"entities that are not as their rows: {sorted(wrong)[:5]}")


_FATES = ("inserted", "updated", "deleted", "unchanged", "stale", "deduplicated", "quarantined")


def _ledger(verdict: Verdict, store: Readable, live: list[Any], past: list[Any]) -> None:
    """No commit without a line, every row accounted for, the watermark never goes back."""
    lines = store.rows(
        f"SELECT seq, pulled, {' + '.join(_FATES)}, inserted, inserted + updated + deleted, "
        "watermark_after, pulled, mode FROM tidegate_run ORDER BY seq"
    )
    ((head,),) = store.rows("SELECT seq FROM tidegate_head")
    if [line[0] for line in lines] != list(range(1, head + 1)):
        verdict.other.append(f"{len(lines)} ledger lines for {head} commits")
    for seq, pulled, fates, *_ in lines:
        if pulled != fates:
            verdict.other.append(f"commit {seq}: {pulled} rows pulled, {fates} accounted for")
    if (total := sum(line[3] for line in lines)) != len(live):
        verdict.other.append(f"{total} rows inserted by the ledger, {len(live)} there")
    reigned = len(live) + sum(row[5] < row[6] for row in past)
    if (total := sum(line[4] for line in lines)) != reigned:
        verdict.other.append(f"{total} versions by the ledger, {reigned} there")
    marks = [line[5] for line in lines]
    ((last,),) = store.rows(f"SELECT watermark FROM tidegate_stream WHERE name = '{STREAM}'")
    cursors = list(_cursors([*marks, last]))
    verdict.backward += sum(later < earlier for earlier, later in pairwise(cursors))


def _cursors(marks: list[str | None]) -> Iterator[str]:
    for mark in marks:
        if mark is not None:
            yield json.loads(mark)["cursor"]
