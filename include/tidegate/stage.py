"""Between tasks: an increment as Parquet pages and a manifest, a folder per run and attempt.

Files are written once and never changed; each task writes a folder of its own, so a killed task
leaves garbage, never a half-truth: only a folder with a manifest counts, and the manifest names
the digest of each page. A run whose steps share a process keeps pages in memory instead, where
there is room (:mod:`tidegate.shelf`).
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Self

from tidegate import objects, settings, shelf
from tidegate.coming import Coming, Onward
from tidegate.errors import MismatchError, TidegateError, UnavailableError
from tidegate.model import (
    Check,
    Increment,
    Json,
    Mode,
    Replay,
    Request,
    StagedPage,
    Watermark,
    Window,
)

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = "manifest.json"
GONE = "gone.parquet"


def folder(request: Request, step: str) -> str:
    """Where *step* of this run and attempt writes."""
    return f"{root(request)}/{step}-{request.attempt}-{time.time_ns():x}"


def root(request: Request) -> str:
    """Where all steps of a run write. Run ids are hashed: they hold any text."""
    run = hashlib.blake2b(request.run_id.encode(), digest_size=8).hexdigest()
    return f"{settings.stage_root()}/{request.stream}/{run}"


def is_staged(where: str) -> bool:
    """Whether *where* lies below the stage's root: it may come from whoever can write an XCom."""
    return where.startswith(f"{settings.stage_root()}/") and ".." not in where.split("/")


class Writer:
    """Writes the pages of one increment into *where*, in order.

    With the second page, *onward* is given the increment as far as it is known, whose pages keep
    coming: what is larger than a page goes through several steps at once.

    first  the smallest order token that was written; 0: none
    """

    def __init__(
        self, where: str, begun: Increment | None = None, onward: Onward | None = None
    ) -> None:
        self.where = where
        self.pages: list[StagedPage] = []
        self.rows = 0
        self.held = 0
        self.first = 0
        self._begun = begun
        self._onward = onward
        self._coming = Coming()
        self._folder = objects.path(where)
        with _writing(where):
            self._folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error:
            self._coming.fail(error)

    def write(self, table: pa.Table) -> StagedPage:
        """Stage *table* as the next page."""
        name = self._name()
        put = partial(self._put, name)
        kept = shelf.of(self.where)
        digest = kept.put(table, f"{self.where}/{name}", put) if kept else put(table)
        return self._next(StagedPage(name, table.num_rows, digest), table)

    def copy(self, increment: Increment, page: StagedPage) -> StagedPage:
        """Stage a page of *increment* as the next page, as it is."""
        name, columns = self._name(), ["_token", "_held"]
        if shelf.of(self.where):
            table = read(increment, page, columns)
        else:
            data = _staged(increment, page)
            table = _decoded(data, columns)
            self._write(name, data)
        return self._next(replace(page, name=name), table)

    def _next(self, page: StagedPage, table: pa.Table) -> StagedPage:
        import pyarrow.compute as pc

        self.pages.append(page)
        self.rows += table.num_rows
        self.held += table.num_rows - table.column("_held").null_count
        smallest = pc.min(table.column("_token")).as_py() or 0
        self.first = min(self.first, smallest) if self.first else smallest
        self._coming.add(page)
        if self._begun and self._onward and len(self.pages) == 2:
            self._onward(replace(self._begun, where=self.where, pages=self._coming))
        return page

    def write_gone(self, keys: Sequence[str], token: int) -> StagedPage:
        """Stage *keys* that the source was asked for and does not have; :func:`gone` reads them."""
        import pyarrow as pa

        tokens = pa.array([token] * len(keys), pa.int64())
        table = pa.table({"_key": pa.array(keys, pa.string()), "_token": tokens})
        return StagedPage(GONE, table.num_rows, self._put(GONE, table))

    def _name(self) -> str:
        return f"page-{len(self.pages):05d}.parquet"

    def _put(self, name: str, table: pa.Table) -> str:
        """Write *table* into a file; returns its digest."""
        data = _encoded(table)
        self._write(name, data)
        return _digest(data)

    def _write(self, name: str, data: bytes) -> None:
        with _writing(self.where):
            (self._folder / name).write_bytes(data)

    def close(self, increment: Increment) -> Increment:
        """Write the manifest; what it returns is complete."""
        done = replace(
            increment,
            where=self.where,
            pages=tuple(self.pages),
            rows=self.rows,
            held=self.held,
            first=self.first,
        )
        text = json.dumps(asdict(done), ensure_ascii=False, indent=1)
        with _writing(self.where):
            (self._folder / MANIFEST).write_text(text, encoding="utf-8")
        self._coming.close(done)
        return done


@contextmanager
def _writing(where: str) -> Iterator[None]:
    """A full or absent disk may be another one soon, a silent server may answer."""
    try:
        yield
    except TidegateError:
        raise
    except Exception as error:
        reason = str(getattr(error, "strerror", None) or error).rstrip(". ")
        raise UnavailableError(
            f"{where}: cannot be written: {reason}. Make room there, mend its connection, or let "
            "TIDEGATE_STAGE name another place."
        ) from error


@contextmanager
def _reading(place: object, who: str = "") -> Iterator[None]:
    """Gone is gone; all else may pass."""
    try:
        yield
    except TidegateError:
        raise
    except FileNotFoundError as error:
        raise MismatchError(f"{who}{place} is gone. Clear the run from its pull task.") from error
    except Exception as error:
        raise UnavailableError(
            f"{who}{place} cannot be read: {error}. It is tried again."
        ) from error


def pages(increment: Increment, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Read the pages back, in order, each checked against its digest.

    Raises MismatchError when a page is missing or is not what was written.
    """
    for page in increment.pages:
        yield read(increment, page, columns)


def gone(increment: Increment) -> pa.Table | None:
    """``_key`` and ``_token`` of what the source no longer has, as the pull staged it."""
    if increment.gone is None:
        return None
    return read(replace(increment, where=increment.origin), increment.gone)


def read(increment: Increment, page: StagedPage, columns: list[str] | None = None) -> pa.Table:
    """One page of *increment*, or the *columns* of it that are named."""
    kept = shelf.of(increment.where)
    if kept and (table := kept.get(page.digest)) is not None:
        return table if columns is None else table.select(columns)
    return _decoded(_staged(increment, page), columns)


def _decoded(data: bytes, columns: list[str] | None) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    return parquet.read_table(pa.BufferReader(data), columns=columns)


def _staged(increment: Increment, page: StagedPage) -> bytes:
    """The bytes of one page; raises MismatchError unless they are what was written."""
    kept = shelf.of(increment.where)
    left = kept.file(page.digest) if kept else None
    where, digest = left or (f"{increment.where}/{page.name}", page.digest)
    place = objects.path(where)
    with _reading(place, f"{increment.request.stream}: "):
        data: bytes = place.read_bytes()
    if _digest(data) != digest:
        raise MismatchError(
            f"{increment.request.stream}: {place} is not what was staged. "
            "Clear the run from its pull task."
        )
    return data


def _encoded(table: pa.Table) -> bytes:
    import pyarrow.parquet as parquet

    buffer = io.BytesIO()
    parquet.write_table(
        table, buffer, compression="lz4", use_dictionary=False, write_statistics=False
    )
    return buffer.getvalue()


def load_manifest(where: str) -> Increment:
    """The manifest staged in *where*; raises MismatchError when there is none."""
    place = objects.path(where) / MANIFEST
    with _reading(place):
        text = place.read_text(encoding="utf-8")
    return _increment(json.loads(text))


def _increment(value: dict[str, Json]) -> Increment:
    request = dict(value["request"])
    window = request["window"]
    request["window"] = Window(**window) if window else None
    request["mode"] = Mode(request["mode"])
    request["keys"] = tuple(request.get("keys", ()))
    if replay := request.get("replay"):
        request["replay"] = Replay(**{**replay, "keys": tuple(replay["keys"])})
    return Increment(
        **{
            **value,
            "request": Request(**request),
            "pages": tuple(StagedPage(**page) for page in value["pages"]),
            "columns": tuple(value["columns"]),
            "low": Watermark(**value["low"]) if value["low"] else None,
            "high": Watermark(**value["high"]) if value["high"] else None,
            "cleaned": tuple((name, count) for name, count in value["cleaned"]),
            "checks": tuple(Check(**check) for check in value["checks"]),
            "notes": tuple(value["notes"]),
            "source_columns": tuple(value.get("source_columns", ())),
            "gone": StagedPage(**value["gone"]) if value.get("gone") else None,
        }
    )


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
