"""Files in folders, on S3, and where fsspec leads.

From the place inwards::

    reading    the source: which files a run reads, all of a file or nothing of it
    arriving   which files are whole, and which of them are new
    aside      what waits until all of a file was read
    growing    files that only grow: read on from where they ended
    local      a folder; never through a symbolic link
    remote     S3, and other object stores and servers
    expanding  gzip, zstd, zip; and what is too much of it
    formats    which parser takes a file
    lines      CSV and NDJSON
    trees      JSON and XML
    sheets     Parquet and Excel
    entry      a file as it was found; what may be wrong with it
    options    what a stream may say
    naming     what their names have in common, and their dates
    discovery  what streams there could be
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tidegate.pipeline.kinds import Kind, Proposal
from tidegate.sources.files.options import FilesSettings, FilesStream

if TYPE_CHECKING:
    from tidegate.connections import Endpoint
    from tidegate.sources import Source
    from tidegate.sources.files.entry import Place


def place_of(endpoint: Endpoint, pattern: str, name: str) -> Place:
    """Where *endpoint* leads, and what *pattern* names there."""
    if endpoint.kind in {"fs", "file"}:
        from tidegate.sources.files.local import Folder

        return Folder(endpoint, pattern, name)
    from tidegate.sources.files.remote import Remote

    return Remote(endpoint, pattern, name)


def _open(endpoint: Endpoint, stream: FilesStream, name: str) -> Source:
    from tidegate.sources.files.reading import FilesSource

    return FilesSource(endpoint, stream, name)


def _discover(endpoint: Endpoint) -> Iterator[Proposal]:
    from tidegate.sources.files.discovery import proposals

    return proposals(endpoint)


CONNECTIONS = ("fs", "file", "aws", "s3", "gs", "abfs", "sftp")
KIND = Kind("files", FilesStream, FilesSettings, CONNECTIONS, _open, _discover)
