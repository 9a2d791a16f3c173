"""What a server's catalogue says of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tidegate.errors import ConfigError
from tidegate.fields import did_you_mean
from tidegate.types import TEMPORAL, ColumnType

if TYPE_CHECKING:
    from tidegate.sources.sql.options import SqlStream


_COMPARED = {
    "date": "date", "datetime": "moment", "timestamp": "moment", "int16": "number",
    "int32": "number", "int64": "number", "decimal": "number", "numeric": "number",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Native:
    """A column as the server declares it; *loose* when its declaration binds no value.

    name    what the pipeline file calls it
    stored  what the table calls it, where ``drift.renamed`` gave it another name
    charset of its text, where the server names it
    """

    name: str
    declared: str
    type: ColumnType
    nullable: bool
    loose: bool = False
    charset: str = ""
    stored: str = ""

    @property
    def own(self) -> str:
        """What the table calls it."""
        return self.stored or self.name


@dataclass(frozen=True, slots=True)
class Index:
    """Columns in order (None for an expression); *unique* as the server compares keys.

    *ordered*: rows can be read through it in the order of its first column; *clustered*: the rows
    themselves lie in its order.
    """

    columns: tuple[str | None, ...]
    unique: bool
    ordered: bool = True
    clustered: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view; another *identity* under the same name is another table."""

    schema: str | None
    name: str
    view: bool
    columns: tuple[Native, ...]
    indexes: tuple[Index, ...]
    identity: str = ""

    def column(self, name: str) -> Native:
        """By exact name; KeyError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def orders_by(self, name: str) -> bool:
        """Whether an index begins with column *name*."""
        return any(index.ordered and index.columns[:1] == (name,) for index in self.indexes)

    def lies_by(self, key: Sequence[str]) -> bool:
        """Whether its rows lie in the order of the columns *key*."""
        return any(index.clustered and index.columns == tuple(key) for index in self.indexes)

    def identifies(self, key: Iterable[str]) -> bool:
        """Whether the server keeps rows with equal *key* from existing."""
        names = set(key)
        return any(index.unique and set(index.columns) <= names for index in self.indexes)


def renamed(table: Table, names: Mapping[str, str], where: str) -> Table:
    """*table* as the pipeline file calls its columns; *names* it lacks do not matter yet.

    Raises ConfigError when the old and the new name of a column are both there.
    """
    pages = {column.name: names.get(column.name, column.name) for column in table.columns}
    for name, count in Counter(pages.values()).items():
        if count > 1:
            there = " and ".join(repr(own) for own, page in pages.items() if page == name)
            raise ConfigError(
                f"{where}: drift.renamed: {table.name!r} has the columns {there}, which would both "
                f"be {name!r}. Take the name out of renamed, or drop the column it replaced."
            )
    columns = (
        replace(column, name=pages[column.name], stored=column.name) for column in table.columns
    )
    indexes = (
        replace(index, columns=tuple(name and pages.get(name, name) for name in index.columns))
        for index in table.indexes
    )
    return replace(table, columns=tuple(columns), indexes=tuple(indexes))


def difference(before: Table, now: Table) -> str | None:
    """What became of the columns, or of the table itself, in words; None: nothing."""
    old, new = ({column.name: column for column in table.columns} for table in (before, now))
    texts = [f"column {name} is gone" for name in old if name not in new]
    texts += [f"column {name} is new" for name in new if name not in old]
    for name in old:
        if name in new:
            texts += _altered(old[name], new[name])
    if not texts and list(old) != list(new):
        texts.append("its columns are in another order")
    if not texts and before.identity != now.identity:
        texts.append("the table was rebuilt, or another took its name")
    return "; ".join(texts) or None


def _altered(old: Native, new: Native) -> Iterator[str]:
    if old.own != new.own:
        yield f"{old.own} is called {new.own} now"
    if old.type != new.type:
        yield f"{old.name} is {new.type} now, was {old.type}"
    elif old.declared != new.declared:
        yield f"{old.name} is {new.declared} now, was {old.declared}"
    elif old.charset != new.charset:
        yield f"{old.name} is text in {new.charset} now, was in {old.charset}"
    if old.nullable != new.nullable:
        yield f"{old.name} {'may' if new.nullable else 'cannot'} be NULL now"


def unknown_table(where: str, wanted: str, place: str, known: list[str]) -> ConfigError:
    """There is no such table."""
    hint = did_you_mean(wanted, known)
    if not hint and known:
        hint = f" It has: {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}."
    if not known:
        hint = " The user sees no table there at all; check the database's name and SELECT rights."
    return ConfigError(f"{where}: there is no table {wanted!r} in {place}.{hint}")


def require_columns(where: str, table: Table, stream: SqlStream) -> None:
    """Raise ConfigError for the first column the stream names and the table lacks."""
    known = [column.name for column in table.columns]
    wanted = [("primary_key", name) for name in stream.primary_key]
    if stream.cursor:
        wanted.append(("cursor", stream.cursor))
    if stream.backfill.by:
        wanted.append(("backfill.by", stream.backfill.by))
    if stream.deleted:
        wanted.append(("deleted.column", stream.deleted.column))
    if stream.drift.drop == "refuse":
        wanted += [("types", name) for name in stream.types]
    for place, name in wanted:
        if name not in known:
            hint = did_you_mean(name, known) or f" It has: {', '.join(known)}."
            raise ConfigError(f"{where}: {place}: {table.name!r} has no column {name!r}.{hint}")


def require_cursor(where: str, cursor: str, type: ColumnType) -> None:
    """Raise ConfigError unless the cursor's type orders changes."""
    whole = type.name in {"int16", "int32", "int64"} or (type.name == "decimal" and type.scale == 0)
    if not whole and type.name not in TEMPORAL:
        raise ConfigError(
            f"{where}: cursor: {cursor!r} is of type {type}, which does not order changes. "
            "Use a column of dates, times or whole numbers, such as updated_at."
        )


def require_comparable(where: str, native: Native, type: ColumnType) -> None:
    """Raise ConfigError when the server compares a column otherwise than its declared *type*."""
    kind = _COMPARED.get(type.name)
    if kind is not None and kind != _COMPARED.get(native.type.name):
        raise ConfigError(
            f"{where}: types: makes {type} of {native.name!r}, but to the server it is "
            f"{native.declared}, and is sorted and compared as that. Take it out of types:, name "
            "another column, or read a view that casts it."
        )
