"""What rows mean: the entities they describe and the relations they state (``load:``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from tidegate.fields import ColumnName, Columns, Strict, did_you_mean
from tidegate.pipeline import template
from tidegate.pipeline.template import Template
from tidegate.types import ColumnType

TypeWord = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=60)]
"""The name of an entity type or a relation type."""

Named = dict[str, ColumnName] | tuple[ColumnName, ...]
"""Columns under their own names, or name: column."""


_OR = "Or write {type: …, key: …}."


def _named(columns: dict[str, str] | tuple[str, ...]) -> dict[str, str]:
    return dict(columns) if isinstance(columns, dict) else {column: column for column in columns}


class Entity(Strict):
    """Rows describe an entity: its type, its key columns, its name, its attributes."""

    type: TypeWord = Field(description="what it is, like Customer")
    key: Columns = Field(description="the column or columns that identify it")
    name: Template | None = Field(
        None, description="what people call it, made of columns: '{first} {last}'"
    )
    attributes: Named = Field((), description="columns, or attribute name: column")

    @property
    def named(self) -> dict[str, str]:
        """Attribute name → column."""
        return _named(self.attributes)


class End(Strict):
    """One end of a relation: an entity type and the columns that hold its key."""

    type: TypeWord = Field(description="the entity's type")
    key: Columns = Field(
        description="the columns of this table that hold the entity's key; at the end 'to' of a "
        "relation with 'each': members of the element, or '.' for the element itself"
    )


class Relation(Strict):
    """Rows connect two entities. An end may name an entity of the same stream by its type."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    type: TypeWord = Field(description="how they are connected, like placed_by")
    from_: str | End = Field(alias="from", description="an entity type above, or {type, key}")
    to: str | End = Field(description="an entity type above, or {type, key}")
    each: ColumnName | None = Field(
        None,
        description="a JSON column that holds an array: one relation for each element; a cell that "
        "holds no array states none",
    )
    qualifiers: Named = Field(
        (), description="what is said of the relation itself: columns (with 'each': members of "
        "the element), or name: column"
    )  # fmt: skip

    @property
    def named(self) -> dict[str, str]:
        """Qualifier → column, or member of the element."""
        return _named(self.qualifiers)


class Load(Strict):
    """What the rows mean."""

    entities: tuple[Entity, ...] = Field((), description="what each row describes")
    relations: tuple[Relation, ...] = Field((), description="what each row connects")

    @model_validator(mode="after")
    def _is_clear(self) -> Self:
        wrong = [*self._repeated(), *self._wrong_ends()]
        if wrong:
            raise ValidationError.from_exception_data("Load", wrong)
        return self

    def _repeated(self) -> Iterator[InitErrorDetails]:
        seen: set[tuple[str, tuple[str, ...]]] = set()
        for number, entity in enumerate(self.entities):
            if (entity.type, entity.key) in seen:
                text = (
                    f"{entity.type!r} with this key stands here twice. "
                    "Write all its attributes in one entry."
                )
                yield _wrong(text, ("entities", number, "key"), entity.key)
            seen.add((entity.type, entity.key))

    def _wrong_ends(self) -> Iterator[InitErrorDetails]:
        types = [entity.type for entity in self.entities]
        for number, relation in enumerate(self.relations):
            for key, end in (("from", relation.from_), ("to", relation.to)):
                if isinstance(end, End):
                    continue
                text = ""
                if relation.each and key == "to":
                    text = f"{end[:60]!r} names a type only, but with 'each' the elements hold keys"
                    text += ". Write {type: …, key: …} with the members' names."
                elif types.count(end) > 1:
                    text = f"this stream describes {end!r} more than once. {_OR}"
                elif end not in types:
                    text = f"{_unknown(end, types)} {_OR}"
                if text:
                    yield _wrong(text, ("relations", number, key), end)

    def end(self, end: str | End) -> End:
        """Resolve an end given by type; the reader has checked that it exists."""
        if isinstance(end, End):
            return end
        entity = next(entity for entity in self.entities if entity.type == end)
        return End(type=entity.type, key=entity.key)

    def keyed(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """``(entity type, columns)`` of every key that is made of the row's columns."""
        for entity in self.entities:
            yield entity.type, entity.key
        for relation in self.relations:
            for end in (relation.from_, *(() if relation.each else (relation.to,))):
                yield self.end(end).type, self.end(end).key

    def columns(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """``(what for, columns)`` of everything else that must be there after cleaning."""
        for entity in self.entities:
            yield f"attributes of {entity.type}", tuple(entity.named.values())
            if entity.name is not None:
                yield f"name of {entity.type}", template.columns(entity.name)
        for relation in self.relations:
            if relation.each is None:
                yield f"qualifiers of {relation.type}", tuple(relation.named.values())
            else:
                yield f"each of {relation.type}", (relation.each,)

    def misfits(self, columns: Mapping[str, ColumnType]) -> Iterator[str]:
        """Sentences about columns (name → type) that cannot hold what they are named for."""
        for relation in self.relations:
            if relation.each and columns[relation.each].name not in {"json", "string"}:
                yield (
                    f"each of {relation.type} names column {relation.each!r} of type "
                    f"{columns[relation.each]}. An array is in a column of type json or string."
                )


def _unknown(end: str, types: list[str]) -> str:
    known = f" It has: {', '.join(dict.fromkeys(types))}." if types else " It has none yet."
    near = did_you_mean(end, types)
    return f"{end[:60]!r} is not an entity type of this stream.{near}{known}"


def _wrong(text: str, where: tuple[str | int, ...], value: object) -> InitErrorDetails:
    return InitErrorDetails(
        type=PydanticCustomError("plain", "{text}", {"text": text}), loc=where, input=value
    )
