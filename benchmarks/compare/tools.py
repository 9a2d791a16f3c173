"""The tools side by side, and what each does in its time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from compare import calls
from compare.calls import Call, Place


@dataclass(frozen=True)
class Tool:
    """One line of the table.

    call      scenario and place → how it is called; None: it has no part in that scenario
    relation  what it fills
    does      what happens in its time, from :data:`WORK`
    kind      ``ours``, ``peer``, ``limit``; ``warm``: ours, as a process that stays and says by
              itself how long its steps took
    """

    name: str
    title: str
    call: Callable[[str, Place], Call | None]
    relation: str = "orders"
    does: frozenset[str] = frozenset()
    kind: str = "peer"

    @property
    def cleaned(self) -> bool:
        """Whether its rows are compared with the cleaned ones."""
        return "cleaning" in self.does


WORK = {
    "changes only": "finds what changed since the last run by itself",
    "late commits": "waits, by a bound it computes, for rows that are stamped but not committed",
    "cleaning": "cleans cells (5 steps)",
    "validation": "validates (12 expectations of Great Expectations)",
    "quarantine": "holds rows that fail, with the reason, and loads the others",
    "history": "keeps every older version of a row",
    "provenance": "says of each row which run brought it, and accounts for every row pulled",
    "one commit": "commits the watermark with the rows, or has none but the rows themselves",
    "verification": "keeps a hash of each row as the source has it, so that both can be compared",
    "entities": "maps rows to entities, attributes and relations",
    "key": "has a unique key in the target",
}
LAYERS = frozenset(WORK)
RECORDS = LAYERS - {"entities"}
ORDERS = "shop__orders WHERE NOT _deleted"
DLT = ("dlt", "dlt-pyarrow")
_KEYED = frozenset({"one commit", "key"})
TOOLS = (
    Tool("tidegate", "Tidegate, records", calls.tidegate, ORDERS, RECORDS, "ours"),
    Tool(
        "tidegate-layers", "Tidegate, all layers", partial(calls.tidegate, layers=True),
        ORDERS, LAYERS, "ours",
    ),
    Tool(
        "dlt", "dlt, connectorx", partial(calls.dlt, backend="connectorx"),
        "bench.orders", frozenset({"changes only"}),
    ),
    Tool(
        "dlt-pyarrow", "dlt, pyarrow", partial(calls.dlt, backend="pyarrow"),
        "bench.orders", frozenset({"changes only"}),
    ),
    Tool("ingestr", "ingestr", calls.ingestr, does=_KEYED),
    Tool("sling", "Sling", calls.sling, does=frozenset({"changes only", "one commit"})),
    Tool("copy", "limit: mariadb, COPY", calls.copy, does=_KEYED, kind="limit"),
    Tool("upsert", "limit: COPY, ON CONFLICT", calls.upsert, does=_KEYED, kind="limit"),
    Tool(
        "warm", "Tidegate, records", partial(calls.tidegate, warm=True), ORDERS, RECORDS, "warm"
    ),
    Tool(
        "warm-layers", "Tidegate, all layers", partial(calls.tidegate, layers=True, warm=True),
        ORDERS, LAYERS, "warm",
    ),
)  # fmt: skip
