"""The DAG that asks people whether a stream shall read a new column, and what starts it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, Asset, AssetAlias, get_current_context, task

from tidegate.job import store_endpoint
from tidegate.on_airflow.access import connection
from tidegate.on_airflow.retries import RETRIES

if TYPE_CHECKING:
    from tidegate.store import Store

ID = "tidegate.drift"
ASKED = Asset("tidegate.question")
"""Updated when a run met new columns that somebody must decide on; the event names them."""
NEWS = AssetAlias("tidegate.question.news")
"""The outlet of tasks that may have such news, and mostly have none."""
ACCEPT, REFUSE = "Accept", "Refuse"
PATIENCE = timedelta(hours=1)
"""After this long without an answer here, look whether it was given in the shell."""


def announce(store: Store, stream: str) -> None:
    """Let the DAG ask what is new of *stream*'s questions."""
    if new := store.tell(stream):
        events: Any = get_current_context()["outlet_events"]
        columns = [question.column for question in new]
        events[NEWS].add(ASKED, extra={"stream": stream, "columns": columns})


class Ask(HITLOperator):  # type: ignore[misc]
    """Asks one question and stores the answer; waits without a slot in the meantime."""

    template_fields = ()
    """A column may be called ``{{ anything }}``."""

    def __init__(self, *, stream: str, column: str, type: str, **rest: Any) -> None:
        shown = column.replace("`", "'")
        super().__init__(
            subject=f"{stream}: read the new column {column!r}?",
            body=_BODY.format(stream=stream, column=shown, type=type),
            options=[ACCEPT, REFUSE],
            response_timeout=PATIENCE,
            **rest,
        )
        self.stream = stream
        self.column = column

    def execute(self, context: Any) -> Any:
        """Ask, unless it was answered already."""
        with _store() as store:
            known = {one.column: one for one in store.questions(self.stream)}
        question = known.get(self.column)
        if question is None or question.answered:
            return self._told(question)
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Store the answer; an answer from elsewhere counts if it came first."""
        if event.get("error_type") == "timeout":
            return self.execute(context)
        given = super().execute_complete(context, event)
        user = given["responded_by_user"] or {}
        accept = ACCEPT in given["chosen_options"]
        with _store() as store:
            by = str(user.get("name") or "somebody in Airflow")
            return self._told(store.answer(self.stream, self.column, by, accept=accept))

    def _told(self, question: Any) -> dict[str, Any]:
        what = {"stream": self.stream, "column": self.column}
        if question is None:
            self.log.info("%s: column %r is gone, or its question was", self.stream, self.column)
            return {**what, "state": "withdrawn"}
        self.log.info(
            "%s: column %r was %s by %s",
            self.stream, self.column, question.state, question.answered_by,
        )  # fmt: skip
        return {**what, "state": question.state, "answered_by": question.answered_by}


def dag() -> DAG:
    """One task for each new column; its run lasts until they are answered."""
    with DAG(
        ID,
        schedule=[ASKED],
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=100,
        is_paused_upon_creation=False,
        tags={"tidegate"},
        description="asks whether new columns of a table shall be read",
        doc_md=_DOC,
        default_args={
            "retries": 3,
            "retry_delay": timedelta(seconds=30),
            "retry_policy": RETRIES,
        },
    ) as made:

        @task
        def questions() -> list[dict[str, str]]:
            """What is to be asked."""
            return _questions()

        Ask.partial(task_id="ask", map_index_template="{{ task.subject }}").expand_kwargs(
            questions()
        )
    return made


_DOC = """\
# tidegate.drift

A stream with `drift: {add: ask}` goes on without a column that is new in its table, and this DAG
asks what to do: see **Required Actions** of the run, or the page *Required Actions* in *Browse*.
*Accept*: the next run of the stream reads every row once more, with the column. *Refuse*: the
column is left out for good. The shell can do the same: `tidegate drift accept STREAM COLUMN`.

It starts by itself. Trigger it by hand to be asked again whatever is not answered yet.
"""

_BODY = """\
The table of `{stream}` has a new column `{column}` of type `{type}`. The stream goes on without it.

**Accept**: it is read from the next run on; that run reads every row once more, so that old rows
have it, too. **Refuse**: it is left out for good, or until `tidegate drift accept`.
"""


def _questions() -> list[dict[str, str]]:
    """Those that the events name; all that wait for an answer, when there are no events."""
    context: Any = get_current_context()
    events = context["triggering_asset_events"].get(ASKED, ())
    named = {(event.extra["stream"], name) for event in events for name in event.extra["columns"]}
    with _store() as store:
        waiting = [one for one in store.questions() if not one.answered]
    return [
        {"stream": one.stream, "column": one.column, "type": one.type}
        for one in waiting
        if not named or (one.stream, one.column) in named
    ]


def _store() -> Store:
    from tidegate.store import open_store

    return open_store(store_endpoint(connection))
