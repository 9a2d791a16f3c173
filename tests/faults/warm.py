"""A warm parent, as a worker of Airflow is one: heavy libraries once, then a fork for each run.

``python -m faults.warm`` reads one JSON object per line: ``{"number": 7, "spec": {…}}``. It
answers ``{"number": 7, "pid": 123}`` when the run began, and ``{"number": 7, "status": 9}`` when it
ended. It has one thread and no connections, so a fork breaks nothing.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from tidegate import path, stage
from tidegate.connections import from_environment
from tidegate.job import Job
from tidegate.model import Increment, Mode, Report, Request, Window
from tidegate.pipeline import reader

STEPS = ("pull", "clean", "validate", "load")
_HEAVY = (
    "pandas", "psycopg", "pyarrow.compute", "pyarrow.dataset", "pyarrow.pandas_compat",
    "pyarrow.parquet", "pymysql", "sqlalchemy.dialects.mysql.pymysql",
    "sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite",
    "upath.implementations.local", "tidegate.clean.casting", "tidegate.clean.sheet",
    "tidegate.replay", "tidegate.sources.sql.mysql", "tidegate.sources.sql.postgres",
    "tidegate.sources.sql.reading", "tidegate.sources.sql.rowhash",
    "tidegate.store.store",
)  # fmt: skip


def main() -> None:
    """Serve until stdin ends."""
    for name in _HEAVY:
        importlib.import_module(name)
    importlib.import_module("tidegate.validate").warm()
    awake, asleep = os.pipe()
    os.set_blocking(asleep, False)
    os.set_blocking(awake, False)
    signal.set_wakeup_fd(asleep)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    eyes = selectors.DefaultSelector()
    eyes.register(0, selectors.EVENT_READ)
    eyes.register(awake, selectors.EVENT_READ)
    gc.freeze()
    children: dict[int, int] = {}
    text = b""
    _say(ready=os.getpid())
    while True:
        for key, _ in eyes.select():
            found = os.read(key.fd, 1 << 20)
            if key.fd == awake:
                continue
            if not found:
                return
            text += found
        *lines, text = text.split(b"\n")
        for line in lines:
            order = json.loads(line)
            pid = os.fork()
            if not pid:
                eyes.close()
                _run(order["spec"])
            children[pid] = order["number"]
            _say(number=order["number"], pid=pid)
        _reap(children)


def _reap(children: dict[int, int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        _say(number=children.pop(pid), status=os.waitstatus_to_exitcode(status))


def _say(**words: Any) -> None:
    os.write(1, json.dumps(words).encode() + b"\n")


# In the child ------------------------------------------------------------------------------------


def _run(spec: dict[str, Any]) -> NoReturn:
    """One run, from its environment to its result file; never returns."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    log = os.open(spec["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number, file in ((0, nothing), (1, log), (2, log)):
        os.dup2(file, number)
    os.environ.update(spec["env"])
    result: dict[str, Any]
    try:
        result = {"report": _walk(spec)}
    except BaseException as error:  # noqa: BLE001 - whatever it is, the campaign is told
        traceback.print_exc()
        result = {
            "error": type(error).__name__,
            "kinds": [kind.__name__ for kind in type(error).__mro__],
            "text": str(error),
        }
    try:
        _note(Path(spec["result"]), result)
    finally:
        sys.stderr.flush()
        os._exit(0)


def _walk(spec: dict[str, Any]) -> dict[str, Any]:
    """The whole path at once, or step by step with a note after each, as Airflow's tasks do."""
    job = _job(Path(spec["pipeline"]))
    window = Window(*spec["window"]) if spec.get("window") else None
    request = Request(
        job.full_name, spec["run_id"], Mode(spec["mode"]), window, spec["attempt"],
        keys=tuple(spec.get("keys", ())),
    )  # fmt: skip
    if spec["whole"]:
        return _told(path.run(job, request))
    first, where = spec.get("resume") or ("pull", "")
    increment = stage.load_manifest(where) if where else None
    for step in STEPS[STEPS.index(first) :]:
        done = _step(job, request, step, increment)
        if isinstance(done, Report):
            return _told(done)
        _note(Path(spec["notes"]), {"step": step, "where": done.where})
        increment = done
    raise AssertionError("a load ends in a report")


def _step(job: Job, request: Request, step: str, staged: Increment | None) -> Increment | Report:
    if staged is None:
        pulled = path.pull(job, request)
        if pulled.empty and request.mode is not Mode.WINDOW:
            return Report(request.stream, request.run_id, request.mode, watermark=pulled.high)
        return pulled
    done: Increment | Report = getattr(path, step)(job, staged)
    return done


def _job(file: Path) -> Job:
    read = reader.read_file(file)
    if read.source is None or read.broken:
        raise AssertionError(f"{file}: {read.broken}")
    ((name, stream),) = read.streams.items()
    return Job(read.source, name, stream, from_environment)


def _told(report: Report) -> dict[str, Any]:
    return {"pulled": report.pulled, "seq": report.seq, "repeated": report.repeated}


def _note(file: Path, value: dict[str, Any]) -> None:
    part = file.with_suffix(".part")
    part.write_text(json.dumps(value), encoding="utf-8")
    part.rename(file)


if __name__ == "__main__":
    main()
