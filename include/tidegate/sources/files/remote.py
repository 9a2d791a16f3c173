"""S3, and other object stores and servers that fsspec reaches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, BinaryIO

from fsspec import filesystem
from fsspec.utils import glob_translate

from tidegate import objects
from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError, TidegateError, UnavailableError
from tidegate.sources.files.entry import BadFileError, ChangedFileError, Entry

_OBJECTS = {*objects.S3, "gs", "abfs"}
_PASSING = {"ExpiredToken", "RequestTimeTooSkewed"}
_BLOCK = 8 << 20
_TIMES = ("LastModified", "last_modified", "updated", "mtime")


class Remote:
    """The files of one bucket, or below one folder of a server."""

    def __init__(self, endpoint: Endpoint, pattern: str, name: str) -> None:
        root, pattern = _root(endpoint, pattern, name)
        self._endpoint = endpoint
        self._name = name
        self._root = root
        self._match = re.compile(glob_translate(pattern)).match
        self._prefix = re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]
        self.whole = endpoint.kind in _OBJECTS
        self._s3 = endpoint.kind in objects.S3
        with self._translated():
            self._system = _system(endpoint, name)

    def list(self) -> Iterator[Entry]:
        """What the pattern names."""
        with self._translated():
            self._system.invalidate_cache()
            below = f"{self._root}/{self._prefix}".strip("/")
            found = self._system.find(below if self._s3 else f"/{below}", detail=True)
        for path, about in found.items():
            inner = path.strip("/").removeprefix(self._root.strip("/")).lstrip("/")
            if about["type"] == "file" and not path.endswith("/") and self._match(inner):
                yield _entry(inner, path, about)

    @contextmanager
    def reading(self, entry: Entry, *, grows: bool = False) -> Iterator[BinaryIO]:
        """*entry*, opened. An object store gives no other version of it than the one found."""
        with self._translated(entry):
            self._require(entry, grows)
            file = self._system.open(entry.path, "rb", block_size=_BLOCK)
        with file:
            yield _Translating(file, lambda: self._translated(entry))  # type: ignore[misc]
        with self._translated(entry):
            self._require(entry, grows)

    def has(self, path: str) -> bool:
        """Whether it is there."""
        with self._translated():
            return bool(self._system.exists(path))

    def digest(self, entry: Entry) -> str:
        """Object stores tell it; others would send all of the file."""
        return ""

    def close(self) -> None:
        """Connections of S3; others end with the process."""
        if self._s3:
            with suppress(Exception):
                self._system.close_session(self._system.loop, self._system.s3)

    def _require(self, entry: Entry, grows: bool) -> None:
        self._system.invalidate_cache()
        now = _entry(entry.name, entry.path, self._system.info(entry.path))
        same = now.size >= entry.size if grows else _told(now) == _told(entry)
        if not same:
            raise ChangedFileError(f"{self._name}: {entry.name} changed while it was read.")

    @contextmanager
    def _translated(self, entry: Entry | None = None) -> Iterator[None]:
        """The driver's errors as ours."""
        try:
            yield
        except TidegateError:
            raise
        except FileNotFoundError as error:
            if entry is None:
                raise self._missing() from error
            raise ChangedFileError(f"{self._name}: {entry.name} is gone.") from error
        except PermissionError as error:
            raise self._refused(error, entry) from error
        except Exception as error:
            if entry is not None and "PreconditionFailed" in repr(error):
                raise ChangedFileError(f"{self._name}: {entry.name} changed.") from error
            raise UnavailableError(
                f"{self._name}: {self._where} does not answer: {self._say(error)}."
            ) from error

    def _refused(self, error: PermissionError, entry: Entry | None) -> TidegateError:
        """A file that is archived is held; all else passes, or somebody mends it."""
        code = _code(error)
        if entry is not None and code == "InvalidObjectState":
            return BadFileError("archived", f"it cannot be opened: {self._say(error)}")
        where = f"{self._where}{f', file {entry.name}' if entry else ''}"
        if code in _PASSING:
            return UnavailableError(f"{self._name}: {where} refuses: {self._say(error)}.")
        return RefusedError(
            f"{self._name}: {where} refuses: {self._say(error)}. Mend the connection's keys, or "
            "give them the right to list and to read."
        )

    def _say(self, error: BaseException) -> str:
        return self._endpoint.scrub(error)[:300].rstrip(". ")

    def _missing(self) -> ConfigError:
        return ConfigError(
            f"{self._name}: {self._where} is not there. Mend the connection's bucket or folder."
        )

    @property
    def _where(self) -> str:
        kind = "bucket" if self._s3 else f"{self._endpoint.kind} folder"
        return f"{kind} {self._root!r} (connection {self._endpoint.name!r})"


class _Translating:
    """A file whose errors are ours."""

    def __init__(self, file: Any, translated: Any) -> None:
        self._file = file
        self._translated = translated

    def read(self, size: int = -1) -> bytes:
        with self._translated():
            return bytes(self._file.read(size))

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _code(error: BaseException) -> str:
    """What S3 calls the error."""
    answer = getattr(error.__cause__, "response", None) or {}
    return str(answer.get("Error", {}).get("Code", ""))


def _told(entry: Entry) -> tuple[Any, ...]:
    return (*entry.mtime_size, entry.content)


def _root(endpoint: Endpoint, pattern: str, name: str) -> tuple[str, str]:
    """Bucket or folder, and the pattern below it."""
    if endpoint.kind == "sftp":
        return str(endpoint.options.get("path") or endpoint.database or "").strip("/"), pattern
    config = endpoint.options.get("service_config")
    config = config.get("s3", {}) if isinstance(config, Mapping) else {}
    root = endpoint.database or config.get("bucket_name") or endpoint.host or ""
    if pattern.startswith("s3://"):
        bucket, _, pattern = pattern.removeprefix("s3://").partition("/")
        root = bucket
    if not root:
        raise ConfigError(
            f"{name}: connection {endpoint.name!r} names no bucket. Write it into its schema, or "
            "write files: s3://bucket/..."
        )
    return str(root).strip("/"), pattern


def _system(endpoint: Endpoint, name: str) -> Any:
    """The file system of *endpoint*, with nothing cached."""
    if endpoint.kind not in objects.S3:
        extra = dict(endpoint.options)
        extra.pop("path", None)
        if endpoint.kind == "sftp":
            extra |= {"host": endpoint.host, "port": endpoint.port or 22}
            extra |= {"username": endpoint.user, "password": endpoint.password}
        return _load(endpoint.kind, name, skip_instance_cache=True, **extra)
    return _load("s3", name, skip_instance_cache=True, **objects.options(endpoint, name))


def _load(protocol: str, name: str, **options: Any) -> Any:
    try:
        return filesystem(protocol, **options)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"{name}: {protocol}:// needs a package that is not installed: {error}."
        ) from error


def _entry(name: str, path: str, about: Mapping[str, Any]) -> Entry:
    found = next((about[key] for key in _TIMES if about.get(key) is not None), 0)
    if isinstance(found, str):
        found = datetime.fromisoformat(found)
    if isinstance(found, datetime):
        found = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    etag = str(about.get("ETag") or about.get("etag") or "").strip('"')
    return Entry(name, path, int(about["size"]), round(found * 10**6) * 1000, etag, etag)
