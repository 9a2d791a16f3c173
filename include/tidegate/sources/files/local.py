"""A folder of this machine, or one mounted there. Symbolic links are never followed."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fsspec.utils import glob_translate

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError, UnavailableError
from tidegate.sources.files.entry import BadFileError, ChangedFileError, Entry

_ELSEWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""What opening a file says that was removed, or that a link took the place of."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Folder:
    """The files below one folder."""

    whole = False

    def __init__(self, endpoint: Endpoint, pattern: str, name: str) -> None:
        path = str(endpoint.options.get("path") or "")
        if not path and endpoint.database:
            path = f"/{endpoint.database.removeprefix('/')}"
        if not path.startswith("/"):
            raise ConfigError(
                f"{name}: connection {endpoint.name!r} names no folder"
                + (f", but {path!r}. Write an absolute path" if path else "")
                + '. Set the extra field path, like {"path": "/data/landing"}.'
            )
        self._root = Path(path)
        self._name = name
        self._match = re.compile(glob_translate(pattern)).match
        self._depth = 1_000 if "**" in pattern else pattern.count("/")
        self._hidden = any(part.startswith(".") for part in pattern.split("/"))

    def list(self) -> Iterator[Entry]:
        """Regular files that the pattern names; hidden ones when it names hidden ones."""
        yield from self._walk("", self._depth)

    def _walk(self, folder: str, depth: int) -> Iterator[Entry]:
        for item in self._items(folder):
            path = f"{folder}{item.name}"
            if item.name.startswith(".") and not self._hidden:
                continue
            if item.is_dir(follow_symlinks=False):
                if depth:
                    yield from self._walk(f"{path}/", depth - 1)
            elif self._match(path):
                try:
                    found = item.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(found.st_mode):
                    yield _entry(path, found)

    def _items(self, folder: str) -> tuple[os.DirEntry[str], ...]:
        place = self._root / folder
        try:
            with os.scandir(place) as items:
                return tuple(items)
        except PermissionError as error:
            raise RefusedError(
                f"{self._name}: folder {place} cannot be read: {error.strerror}. Give the user who "
                "runs Tidegate the right to read and to enter it."
            ) from error
        except (FileNotFoundError, NotADirectoryError) as error:
            if folder:
                return ()
            raise UnavailableError(
                f"{self._name}: folder {place} is not there: {error.strerror}. Mount it, or mend "
                "the connection's path."
            ) from error
        except OSError as error:
            raise UnavailableError(
                f"{self._name}: folder {place} does not answer: {error.strerror}."
            ) from error

    @contextmanager
    def reading(self, entry: Entry, *, grows: bool = False) -> Iterator[BinaryIO]:
        """*entry*, opened folder by folder, so that no link leads away from the root."""
        with self._open(entry) as file:
            self._require(entry, file, grows)
            yield file
            self._require(entry, file, grows)

    def has(self, path: str) -> bool:
        """Whether it is there."""
        return (self._root / path).is_file()

    def digest(self, entry: Entry) -> str:
        """Of all its octets."""
        with self.reading(entry) as file:
            found = hashlib.blake2b(digest_size=16)
            while data := file.read(1 << 20):
                found.update(data)
        return found.hexdigest()

    def close(self) -> None:
        """Nothing is held open."""

    def _open(self, entry: Entry) -> BinaryIO:
        *folders, last = entry.path.split("/")
        try:
            at = os.open(self._root, _FOLDER)
            try:
                for folder in folders:
                    at, before = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=at), at
                    os.close(before)
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                return os.fdopen(os.open(last, flags, dir_fd=at), "rb", 1 << 20)
            finally:
                os.close(at)
        except PermissionError as error:
            raise BadFileError("no access", f"it cannot be opened: {error.strerror}") from error
        except OSError as error:
            what = f"{self._name}: {entry.name}: {error.strerror}"
            if error.errno in _ELSEWHERE:
                raise ChangedFileError(f"{what}.") from error
            raise UnavailableError(f"{what}. It is read when it can be opened again.") from error

    def _require(self, entry: Entry, file: BinaryIO, grows: bool) -> None:
        now = os.fstat(file.fileno())
        same = now.st_size >= entry.size if grows else entry.same(_entry(entry.path, now))
        if not same or not stat.S_ISREG(now.st_mode):
            raise ChangedFileError(f"{self._name}: {entry.name} changed while it was read.")


def _entry(path: str, found: os.stat_result) -> Entry:
    name = path.encode("utf-8", "backslashreplace").decode()
    mark = f"{found.st_ctime_ns} {found.st_ino}"
    return Entry(name, path, found.st_size, found.st_mtime_ns, mark)
