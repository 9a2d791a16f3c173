"""What SQLite can tell: no users, no transactions of others, times as text."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from typing_extensions import override

from tidegate.sources.sql.doctor.case import Server

_LATEST = 100
_MANY = 10_000_000
_FRACTION = re.compile(r":\d\d\.\d")
_HIDDEN = "SELECT hidden FROM pragma_table_xinfo(:table) WHERE name = :column"
_DEFAULT = "SELECT dflt_value FROM pragma_table_xinfo(:table) WHERE name = :column"
_TRIGGERS = "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :table"
_COLLATION = (
    "SELECT x.coll FROM pragma_index_list(:table) l JOIN pragma_index_xinfo(l.name) x"
    " WHERE l.\"unique\" AND x.key AND x.name = :column AND x.coll <> 'BINARY'"
)
_STAMP = """\
CREATE TRIGGER {trigger} AFTER UPDATE ON {table} WHEN NEW.{column} = OLD.{column} BEGIN
  UPDATE {table} SET {column} = {now}
  WHERE rowid = NEW.rowid;
END;"""


class SQLite(Server):
    """Asks its pragmas."""

    @override
    def precision(self) -> int | None:
        """As the latest rows are written: a whole second of each is no accident."""
        case = self.case
        if not case.temporal or case.type.name == "date":
            return None
        column: sa.ColumnElement[Any] = case.plan.named(case.cursor.name)
        statement = sa.select(column).select_from(case.plan.source).order_by(column.desc())
        latest = [row[0] for row in case.session.rows(statement.limit(_LATEST))]
        texts = [text for text in latest if isinstance(text, str)]
        return 6 if not texts or any(map(_FRACTION.search, texts)) else 0

    @override
    def generated(self) -> bool:
        return self._fact(_HIDDEN) in {2, 3}

    @override
    def stamped(self) -> tuple[bool, bool]:
        name = self.case.cursor.own.lower()
        default = str(self._fact(_DEFAULT) or "").lower()
        bodies = [str(row[0]).lower() for row in self.case.ask(_TRIGGERS, table=self._table)]
        bodies = [body for body in bodies if name in body.partition("begin")[2]]
        return (
            "current_" in default
            or "now" in default
            or any("insert on" in body for body in bodies),
            any(re.search(r"\bupdate\b.*?\bon\b", body.partition("begin")[0]) for body in bodies),
        )

    @override
    def stamping(self) -> str:
        if not self.case.temporal:
            return ""
        return _STAMP.format(
            trigger=self.case.q(f"stamp_{self._table}"), table=self.case.full, now=self.now(),
            column=self.case.column(self.case.cursor.name),
        )  # fmt: skip

    @override
    def now(self) -> str:
        return "strftime('%Y-%m-%d %H:%M:%f', 'now')"

    @override
    def confused(self, name: str) -> tuple[str, bool] | None:
        found = self.case.ask(_COLLATION, table=self._table, column=self.case.own(name))
        return (
            (f"{name!r} is compared by {found[0][0]}", found[0][0] == "NOCASE") if found else None
        )

    @override
    def exact(self, name: str) -> str:
        return f"-- declare {self.case.column(name)} without COLLATE"

    @override
    def mandatory(self, name: str) -> str:
        return f"-- declare {self.case.column(name)} as NOT NULL"

    @override
    def rows(self) -> int | None:
        return self.case.few(limit=_MANY)

    @override
    def octets(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.func.length(sa.cast(column, sa.LargeBinary()))

    def _fact(self, text: str) -> Any:
        return self.case.ask(text, table=self._table, column=self.case.cursor.own)[0][0]

    @property
    def _table(self) -> str:
        return self.case.table.name
