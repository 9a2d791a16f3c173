"""Where a demo keeps its things: one private folder, with the secrets it made up."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO

REPOSITORY = Path(__file__).resolve().parents[2]


class BusyError(Exception):
    """Another demo runs in the same folder."""


@dataclass(frozen=True)
class Places:
    """The folders and files of a demo below *folder*; only its owner can read them."""

    folder: Path

    @property
    def airflow(self) -> Path:
        """``AIRFLOW_HOME``."""
        return self.folder / "airflow"

    @property
    def shop(self) -> Path:
        """The source: the shop's database."""
        return self.folder / "shop.db"

    @property
    def store(self) -> Path:
        """The knowledge store."""
        return self.folder / "store.db"

    @property
    def tidegate(self) -> Path:
        """``TIDEGATE_HOME``: staging, suites."""
        return self.folder / "tidegate"

    @property
    def pipelines(self) -> Path:
        """``TIDEGATE_PIPELINES``: the shop's file, and no other."""
        return self.folder / "pipelines"

    @property
    def logs(self) -> Path:
        """What Airflow's processes print."""
        return self.folder / "logs"

    @property
    def passwords(self) -> Path:
        """Airflow's users and passwords."""
        return self.folder / "passwords.json"

    def prepare(self, *, fresh: bool) -> dict[str, str]:
        """Make the folders and links; returns the secrets, made up once. *fresh*: forget all."""
        if fresh and self.folder.exists():
            shutil.rmtree(self.folder)
        for folder in (self.airflow, self.tidegate, self.pipelines, self.logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        for log in self.logs.iterdir():
            log.unlink()
        _link(self.airflow / "config", REPOSITORY / "config")
        _link(self.pipelines / "shop.yaml", REPOSITORY / "include" / "pipelines" / "shop.yaml")
        kept = self.folder / "secrets.json"
        if not kept.exists():
            _write_private(kept, json.dumps(_make_up()))
        values: dict[str, str] = json.loads(kept.read_text(encoding="utf-8"))
        _write_private(self.passwords, json.dumps({"admin": values["password"]}) + "\n")
        return values

    def lock(self) -> IO[str]:
        """Keep others out while the returned file is open; raises :class:`BusyError`."""
        self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = self.folder.with_name(f"{self.folder.name}.lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            file.close()
            raise BusyError(
                f"A demo is running here already (process {owner}). "
                "Stop it with Ctrl-C where it runs, then start again."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        return file


def _make_up() -> dict[str, str]:
    return {
        "password": secrets.token_urlsafe(9),
        "jwt": secrets.token_urlsafe(48),
        "session": secrets.token_urlsafe(48),
        "fernet": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    }


def _write_private(file: Path, text: str) -> None:
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target)
