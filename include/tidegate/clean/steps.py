"""The cleaning steps by name, and :data:`CleanStep`, which reads one item of ``clean:``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from tidegate.clean.convert import Convert, ToText
from tidegate.clean.derive import Derive
from tidegate.clean.duplicates import DropDuplicates
from tidegate.clean.missing import FillMissing
from tidegate.clean.privacy import Hash, Mask
from tidegate.clean.shape import DropColumns, Extract, Rename
from tidegate.clean.step import Step
from tidegate.clean.text import CollapseSpaces, Lower, Normalize, Title, Trim, Upper
from tidegate.clean.to_boolean import ToBoolean
from tidegate.clean.to_datetime import ToDatetime
from tidegate.clean.to_number import ToNumber
from tidegate.clean.vocabulary import MapValues
from tidegate.fields import did_you_mean

STEPS: dict[str, type[Step]] = {
    step.name: step
    for step in (
        Trim, CollapseSpaces, Lower, Upper, Title, Normalize,
        ToNumber, ToDatetime, ToBoolean, ToText, Convert,
        MapValues, FillMissing, Derive, Extract, Rename, DropColumns,
        Mask, Hash, DropDuplicates,
    )
}  # fmt: skip


class _Item:
    """How pydantic reads, writes and describes one item: ``{name: arguments}`` or ``name``."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        choices: dict[Any, CoreSchema] = {
            name: core_schema.no_info_before_validator_function(
                _arguments, handler.generate_schema(step)
            )
            for name, step in STEPS.items()
        }
        union = core_schema.tagged_union_schema(choices, discriminator=_name)
        return core_schema.no_info_before_validator_function(
            _unwrap,
            union,
            serialization=core_schema.plain_serializer_function_ser_schema(_dump),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        union: Any = schema["schema"]
        items = [
            _described(name, step, handler(union["choices"][name]["schema"]))
            for name, step in STEPS.items()
        ]
        bare = [name for name, step in STEPS.items() if not _required(step)]
        return {"anyOf": [*items, {"type": "string", "enum": bare}]}


CleanStep = Annotated[Step, _Item()]
"""One item of ``clean:`` in a pipeline file, as a :class:`Step`."""


def _unwrap(item: Any) -> tuple[str, Any]:
    if isinstance(item, Step):
        return item.name, item
    if isinstance(item, str):
        item = {item: None}
    if not isinstance(item, dict) or len(item) != 1:
        found = f"{len(item)} keys" if isinstance(item, dict) else type(item).__name__
        raise ValueError(
            f"a cleaning step is one key and its arguments, like 'trim: [status]'; found {found}"
        )
    ((name, arguments),) = item.items()
    if name not in STEPS:
        raise ValueError(
            f"{name!r} is not a cleaning step.{did_you_mean(str(name), STEPS)} "
            f"Known: {', '.join(STEPS)}"
        )
    return name, STEPS[name].shorthand(arguments)


def _name(item: tuple[str, Any]) -> str:
    return item[0]


def _arguments(item: tuple[str, Any]) -> Any:
    return item[1]


def _dump(step: Step) -> dict[str, Any]:
    return {step.name: step.model_dump(mode="json", exclude_unset=True)}


def _required(step: type[Step]) -> bool:
    return any(field.is_required() for field in step.model_fields.values())


def _described(name: str, step: type[Step], arguments: JsonSchemaValue) -> JsonSchemaValue:
    """Schema of ``{name: arguments}``, or of the shorthand where ``columns`` is all it needs."""
    forms: list[JsonSchemaValue] = [arguments]
    needed = {key for key, field in step.model_fields.items() if field.is_required()}
    if name == "rename":
        forms.append({"type": "object", "additionalProperties": {"type": "string"}})
    elif needed <= {"columns"} and "columns" in step.model_fields:
        forms += [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
    return {
        "type": "object",
        "description": (step.__doc__ or "").strip().split("\n")[0],
        "properties": {name: {"anyOf": forms} if len(forms) > 1 else forms[0]},
        "required": [name],
        "additionalProperties": False,
    }
