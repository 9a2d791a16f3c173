"""A source that does what most of them do alike; a kind replaces what it can do better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError, TidegateError, UnavailableError
from tidegate.model import Json, Watermark, Window
from tidegate.pipeline.models import Stream
from tidegate.sources import Apart, Chunk, Finding, Observation, Shared
from tidegate.types import Column


class Basis:
    """One stream of one source. Subclasses say :meth:`columns`, :meth:`observe`, :meth:`pull`."""

    def __init__(self, endpoint: Endpoint, stream: Stream, name: str) -> None:
        self._endpoint = endpoint
        self._name = name
        self._base = stream
        self._census: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what is held open."""

    def columns(self) -> list[Column]:
        """What there is now."""
        raise NotImplementedError

    def adopt(self, columns: Sequence[Column]) -> None:
        """Read only these, as these types."""
        raise NotImplementedError

    def observe(self, shared: Shared, memory: Json = None) -> Observation:
        """The safe bound."""
        raise NotImplementedError

    def pull(self, read: int, low: Watermark | None, window: Window | None) -> Iterator[pa.Table]:
        """Pages from *low* on, or of one *window*, or all."""
        raise NotImplementedError

    def came(self, low: Watermark) -> tuple[str, ...]:
        """Nothing comes unseen."""
        return ()

    def census(self) -> dict[str, int]:
        """What the last pull counted beside its rows, by kind."""
        return dict(self._census)

    def memory(self) -> dict[str, Json]:
        """Nothing to find again."""
        return {}

    def changed(self) -> str | None:
        """Declared columns do not change."""
        return None

    def fetch(self, read: int, keys: Sequence[str]) -> Iterator[pa.Table]:
        """The rows of these keys, found by reading all of them."""
        self._require_compares()
        wanted = pa.array(keys, pa.string())
        for page in self.pull(read, None, None):
            found = page.filter(pc.is_in(page.column("_key"), wanted))
            if found.num_rows:
                yield found

    def scan(
        self, first: int | None = None, until: int | None = None, after: str | None = None
    ) -> Iterator[pa.Table]:
        """All rows, ``_key`` and ``_source_hash`` only, in the order in which they come."""
        self._require_compares()
        for page in self.pull(0, None, None):
            yield page.select(["_key", "_source_hash"])

    def chunked(self) -> bool:
        """The source hashes nothing."""
        return False

    def chunk(self, first: int | None, rows: int, below: Watermark | None) -> Chunk:
        """Never asked for; see :meth:`chunked`."""
        raise NotImplementedError

    def count(self) -> int:
        """How many rows there are now, counted by reading them."""
        return sum(page.num_rows for page in self.scan())

    def check(self) -> list[Finding]:
        """What :meth:`look` raises, as a finding."""
        try:
            return self.look()
        except UnavailableError as error:
            return [Finding("error", str(error), "unavailable", "")]
        except RefusedError as error:
            return [Finding("error", str(error), "refused", "")]
        except TidegateError as error:
            return [Finding("error", str(error), "not-as-declared", "")]

    def look(self) -> list[Finding]:
        """What a pull begins with, and all that there is to say of the source before."""
        self.columns()
        self.observe(Apart())
        return []

    def _require_compares(self) -> None:
        if not self._base.compares:
            raise ConfigError(
                f"{self._name}: '{self._base.reads}:' cannot be asked what it has now, so it is "
                "neither verified nor read again by key. Run the stream with --full where the "
                "source still has its history."
            )
