"""``vocabulary.yaml``: the words that all sources share, and what a mapping may say with them.

What is declared here is checked against the mappings; what is not is allowed: its attributes have
one value, its relations many targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from tidegate.fields import Strict, did_you_mean
from tidegate.pipeline.document import Mistake, Where
from tidegate.pipeline.meaning import Entity, Load, Relation, TypeWord
from tidegate.types import ColumnType

FILE = "vocabulary.yaml"
"""The name that no source can have."""

_INTEGERS = frozenset({"int16", "int32", "int64"})
DATATYPES: Mapping[str, frozenset[str]] = {
    "bool": frozenset({"bool"}),
    "integer": _INTEGERS,
    "number": _INTEGERS | {"decimal", "numeric", "float64"},
    **{
        name: frozenset({name})
        for name in ("string", "bytes", "date", "time", "datetime", "timestamp", "json")
    },
}
"""Datatype → the column types that fit it."""

Datatype = Literal[
    "bool", "integer", "number", "string", "bytes", "date", "time", "datetime", "timestamp", "json"
]
Word = Annotated[str, Field(min_length=1, max_length=200)]


class Attribute(Strict):
    """What an attribute holds."""

    datatype: Datatype | None = Field(None, description="what its values are")
    unit: str = Field("", description="what its numbers count, like EUR or kg")
    description: str = Field("", description="for people")
    many: bool = Field(
        False, description="true: all values of all its records, not one that others contradict"
    )
    searchable: bool = Field(False, description="an index finds entities by its value")


class Type(Strict):
    """What is known of the entities of one type."""

    description: str = Field("", description="for people")
    attributes: dict[Word, Attribute] = Field(
        {}, description="by name; none: any attribute is allowed"
    )


class Connection(Strict):
    """What a relation connects."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    from_: TypeWord = Field(alias="from", description="the entity type it begins at")
    to: TypeWord = Field(description="the entity type it leads to")
    description: str = Field("", description="for people")
    single: bool = Field(False, description="true: an entity has one target, not several")
    qualifiers: tuple[Word, ...] = Field((), description="by name; none: any qualifier is allowed")


class Vocabulary(Strict):
    """Types and relations, by name."""

    types: dict[TypeWord, Type] = Field({}, description="entity types and their attributes")
    relations: dict[TypeWord, Connection] = Field({}, description="relation types")

    def mistakes(self, load: Load) -> Iterator[Mistake]:
        """What *load* says that the vocabulary does not allow; paths begin inside ``load:``."""
        for number, entity in enumerate(load.entities):
            yield from self._entity(entity, ("entities", number))
        for number, relation in enumerate(load.relations):
            yield from self._relation(relation, load, ("relations", number))

    def _entity(self, entity: Entity, where: Where) -> Iterator[Mistake]:
        known = self.attributes(entity.type)
        for place, name in enumerate(entity.named):
            if known and name not in known:
                inner = name if isinstance(entity.attributes, dict) else place
                text = f"{FILE} declares no attribute {name!r} of {entity.type}."
                yield Mistake((*where, "attributes", inner), text + _hint(name, known))

    def _relation(self, relation: Relation, load: Load, where: Where) -> Iterator[Mistake]:
        declared = self.relations.get(relation.type)
        if declared is None:
            return
        for key, end, wanted in (
            ("from", relation.from_, declared.from_),
            ("to", relation.to, declared.to),
        ):
            if (found := load.end(end).type) != wanted:
                text = f"{FILE} declares that {relation.type} has {wanted} here, not {found}."
                yield Mistake((*where, key), text)
        for place, name in enumerate(relation.named):
            if declared.qualifiers and name not in declared.qualifiers:
                inner = name if isinstance(relation.qualifiers, dict) else place
                text = f"{FILE} declares no qualifier {name!r} of {relation.type}."
                yield Mistake(
                    (*where, "qualifiers", inner), text + _hint(name, declared.qualifiers)
                )

    def attributes(self, type: str) -> dict[str, Attribute]:
        """The declared attributes of *type*."""
        found = self.types.get(type)
        return dict(found.attributes) if found else {}

    def misfits(self, load: Load, columns: Mapping[str, ColumnType]) -> Iterator[str]:
        """Sentences about columns whose type is not the declared datatype."""
        for entity in load.entities:
            known = self.attributes(entity.type)
            for name, column in entity.named.items():
                wanted = known[name].datatype if name in known else None
                if wanted and columns[column].name not in DATATYPES[wanted]:
                    yield (
                        f"column {column!r} of type {columns[column]} is attribute {name!r} of "
                        f"{entity.type}, which {FILE} declares as {wanted}. Convert it in clean:, "
                        "or correct the vocabulary."
                    )


def _hint(name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    return did_you_mean(name, known) or f" There are: {', '.join(known)}."
