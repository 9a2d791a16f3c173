"""What a stream of files may say. Light: a DAG file is parsed with it."""

from __future__ import annotations

import codecs
import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tidegate.fields import Columns, Duration, Strict
from tidegate.pipeline.models import Settings
from tidegate.sources.rows.options import DeclaredStream

Format = Literal["csv", "tsv", "json", "ndjson", "xml", "parquet", "excel"]
Packing = Literal["none", "gzip", "zip", "zstd"]
FORMATS: dict[str, Format] = {
    "csv": "csv", "tsv": "tsv", "tab": "tsv", "json": "json", "ndjson": "ndjson",
    "jsonl": "ndjson", "xml": "xml", "parquet": "parquet", "pq": "parquet", "xlsx": "excel",
    "xlsm": "excel",
}  # fmt: skip
PACKINGS: dict[str, Packing] = {"gz": "gzip", "gzip": "gzip", "zip": "zip", "zst": "zstd"}
LINES = {"csv", "tsv", "ndjson"}


def kind_of(name: str) -> tuple[Packing, Format | None]:
    """Packing and format by the extensions of *name*."""
    *_, inner, last = ("", "", *name.lower().rpartition("/")[2].split("."))
    packing = PACKINGS.get(last, "none")
    return packing, FORMATS.get(last if packing == "none" else inner)


def _glob(text: str) -> str:
    parts = text.removeprefix("s3://").split("/")
    if text.startswith("/") or ".." in parts or "" in parts:
        raise ValueError(
            f"{text[:80]!r} is not a pattern below the connection's folder. Write names with * and "
            "?, and ** for any number of folders: orders/**/*.csv"
        )
    return text


def _encoding(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError as error:
        raise ValueError(
            f"{name[:40]!r} is not an encoding. Write one like utf-8, latin-1, cp1252 or utf-16"
        ) from error


def _sign(text: str) -> str:
    if len(text) != 1 or text in "\r\n":
        raise ValueError(f"{text[:10]!r} is not one character, like ',' or ';'")
    return text


def _day(text: str) -> str:
    if not all(mark in text for mark in ("%Y", "%m", "%d")) or re.search("%[^YmdH]", text):
        raise ValueError(
            f"{text[:80]!r} does not say where the date is in a file's name. Write %Y, %m and %d "
            "(and %H) where its digits are, like orders-%Y-%m-%d.csv; * stands for any text"
        )
    return text


def _many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Sign = Annotated[str, AfterValidator(_sign)]


class Limits(Strict):
    """What a file may be at most; beyond it is held, as a whole."""

    expanded: int = Field(
        2_000_000_000, ge=1, description="octets that a packed file may unpack to"
    )
    ratio: int = Field(100, ge=1, description="the same by its size; the first 16 MB are free")
    members: int = Field(10_000, ge=1, description="files in one zip archive")
    cell: int = Field(
        16_000_000, ge=1, description="octets of one cell; a whole row may have four times that"
    )
    depth: int = Field(100, ge=1, description="nesting of JSON and XML")


class FilesSettings(Settings):
    """What ``defaults:`` and a stream of files may both set."""

    ready: Literal["still", "rename", "marker"] = Field(
        "still",
        description="a file is whole when it has not changed for 'settle'; as soon as it is there, "
        "for it is renamed when it is whole; or when name.done is beside it. Object stores show "
        "only whole ones",
    )
    settle: Duration = Field("30s", description="how long a file must have been the same")
    limits: Limits = Field(Limits(), description="against archives that unpack to anything")


class FilesStream(FilesSettings, DeclaredStream):
    """Files that arrive, each read once; of those of one name the last one."""

    reads: ClassVar[str] = "files"
    compares: ClassVar[bool] = False

    files: Annotated[str, AfterValidator(_glob)] = Field(
        min_length=1,
        description="which files, below the connection's folder or bucket; ** is any folders",
        examples=["orders/**/*.csv"],
    )
    format: Format | None = Field(None, description="default: by the file's extension")
    compression: Packing | None = Field(None, description="default: by the file's extension")
    encoding: Annotated[str, AfterValidator(_encoding)] = Field(
        "utf-8", description="of csv, tsv and ndjson"
    )
    delimiter: Sign | None = Field(None, description="between cells; default: ',' (tsv: tab)")
    quote: Literal[""] | Sign = Field('"', description="around cells; '' when there is none")
    header: Literal[True] | Columns = Field(
        True, description="the names of the columns, where the file does not begin with them"
    )
    null: Annotated[
        tuple[str, ...], BeforeValidator(_many, json_schema_input_type=str | list[str])
    ] = Field(("",), description="how csv, tsv and xml spell NULL")
    rows: str = Field(
        "",
        description="where the rows are: in json the path to the array (data.orders), in xml the "
        "path to the elements below the root (orders.order)",
    )
    sheet: str | None = Field(None, description="of an Excel file; default: the first one")
    day: Annotated[str, AfterValidator(_day)] | None = Field(
        None,
        description="where a file's name has its date, which windows go by (in time_zone); "
        "default: by when it was modified",
        examples=["orders-%Y-%m-%d.csv"],
    )
    grows: bool = Field(
        False, description="files are only ever appended to: read on where they ended"
    )

    @model_validator(mode="after")
    def _grows_by_lines(self) -> Self:
        packing, format = kind_of(self.files)
        packing, format = self.compression or packing, self.format or format
        if self.grows and (packing != "none" or (format or "csv") not in LINES):
            raise ValueError(
                f"grows: a file of {format if packing == 'none' else packing} cannot be read on "
                "where it ended. Only plain csv, tsv and ndjson can; leave 'grows' out"
            )
        if self.grows and self.encoding.startswith(("utf-16", "utf-32")):
            raise ValueError(
                f"grows: {self.encoding} has no line ends that can be told from halves of others. "
                "Write the file in utf-8, or leave 'grows' out"
            )
        return self
