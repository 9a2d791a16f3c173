"""Pages kept in a temporary file until all of them are known to be good."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc


def aside(pages: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """*pages*, all of them made before the first one is given."""
    with ExitStack() as stack:
        spool = stack.enter_context(tempfile.TemporaryFile())
        options = ipc.IpcWriteOptions(compression="lz4")
        writer = None
        for page in pages:
            writer = writer or ipc.new_stream(spool, page.schema, options=options)
            writer.write_table(page, max_chunksize=page.num_rows)
        if writer is not None:
            writer.close()
        spool.seek(0)
        stack.pop_all()
    return _spooled(spool)


def _spooled(spool: Any) -> Iterator[pa.Table]:
    with spool, ipc.open_stream(spool) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])
