"""The DAG that checks what must always be true of the store, and repairs it when asked to."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, get_current_context, task

from tidegate.errors import DataError
from tidegate.job import store_endpoint
from tidegate.on_airflow.access import connection
from tidegate.on_airflow.forms import field
from tidegate.on_airflow.outputs import WHOLE
from tidegate.on_airflow.retries import RETRIES

ID = "tidegate.verify"
_SHOWN = 20
_log = logging.getLogger(__name__)


def dag() -> DAG:
    """One task: it fails with the list of what is wrong."""
    with DAG(
        ID,
        schedule="41 4 * * *",
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        tags={"tidegate"},
        description="checks that the store is in order in itself",
        params={
            "repair": field(
                False, type="boolean", title="Repair",
                description="repair what is wrong, and check again",
            ),
            "sample": field(
                None, type=["null", "integer"], minimum=1, title="Sample",
                description="draw and hash again so many records of each stream; empty: all",
            ),
        },
        doc_md=_DOC,
        default_args={
            "retries": 2,
            "retry_delay": timedelta(minutes=5),
            "retry_policy": RETRIES,
        },
    ) as made:  # fmt: skip

        @task(**WHOLE)  # type: ignore[untyped-decorator]
        def verify() -> dict[str, int]:
            """Check each invariant; says how often it is violated."""
            params = _params()
            return _verify(params["sample"], repair=params["repair"])

        verify()
    return made


_DOC = """\
# tidegate.verify

Checks seven things that must always be true of the store, whatever the sources say:

| | |
|---|---|
| I1 | both ends of every relation exist |
| I2 | every fact has a live record |
| I3 | the knowledge is what the records say |
| I4 | what is single-valued has one winner |
| I5 | records are what was loaded, with one version reigning at a time |
| I6 | the head is the last commit, and every commit has its line in the ledger |
| I7 | a stream has one mapping in force, and a fact one rule and one record's key |

It looks at one snapshot, so loads may go on. When something is wrong it fails and lists it. Trigger
it with *Repair* to mend that: knowledge is drawn again from the records; a record whose content was
changed by hand is forgotten, and the log says which stream to read in full.
"""


def _params() -> Any:
    context: Any = get_current_context()
    return context["params"]


def _verify(sample: int | None, *, repair: bool) -> dict[str, int]:
    from tidegate.store import open_store
    from tidegate.store.checks.invariants import INVARIANTS

    with open_store(store_endpoint(connection)) as store:
        found = store.verify(sample=sample)
        for violation in found:
            _log.warning("%s", violation)
        remarks = store.repair(found) if repair and found else []
        left = store.verify(sample=sample) if repair and found else found
    for remark in remarks:
        _log.warning("%s", remark)
    counts = {
        one.id: sum(violation.invariant == one.id for violation in found)
        for one in sorted(INVARIANTS, key=lambda one: one.id)
    }
    for invariant in INVARIANTS:
        _log.info("%s %6d  %s", invariant.id, counts[invariant.id], invariant.meaning)
    if left:
        some = "\n".join(str(violation) for violation in left[:_SHOWN])
        more = f"\nand {len(left) - _SHOWN:,} more, see the log" if len(left) > _SHOWN else ""
        raise DataError(
            f"the store is not in order, violations: {len(left):,}\n{some}{more}\n"
            + ("Repairing did not help." if repair else f"Trigger {ID} with 'Repair' to mend them.")
        )
    return counts
