"""``python -m demo``: start everything, show it, stop everything.

Exit codes: 0 done (or stopped by Ctrl-C), 1 something failed or the store differs from the
source, 2 the demo cannot run here.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING

from demo import airflow
from demo.places import REPOSITORY, BusyError, Places
from demo.ports import HOST, choose
from demo.processes import Child, DiedError, Processes, tail
from demo.screen import Screen
from demo.shop import Shop, connect
from demo.watch import Watch, behind, table, verdict

if TYPE_CHECKING:
    from argparse import Namespace

START_SECONDS = 180
CATCH_UP_SECONDS = 120
ONCE_STEPS = 240


class TooSlowError(Exception):
    """Something did not happen in time."""


class Demo:
    """One run of the demonstration."""

    def __init__(self, options: Namespace, screen: Screen) -> None:
        self.options = options
        self.screen = screen
        self.places = Places(REPOSITORY / ".demo" / ("once" if options.once else "shop"))
        self.processes = Processes(adopt=True)

    def run(self) -> int:
        """Start, show, and with ``--once`` judge."""
        secrets = self.places.prepare(fresh=self.options.once)
        port = choose(self.options.port)
        if port != self.options.port:
            self.screen.say(
                f"Port {self.options.port} is taken by another program; using {port} instead."
            )
        environment = airflow.environment(self.places, port, secrets)
        self._start(environment, port)
        self.screen.say(
            f"\n  Airflow   http://{HOST}:{port}\n"
            f"  log in    user {airflow.USER}   password {secrets['password']}\n"
            f"  files     {self.places.folder}\n"
            f"  logs      {self.places.logs}\n"
        )
        simulator = self._simulate(environment)
        watch = Watch(self.places)
        return self._judge(watch, simulator) if self.options.once else self._show(watch)

    def _start(self, environment: dict[str, str], port: int) -> None:
        self.screen.begin("opening the shop (a SQLite database)")
        Shop(connect(self.places.shop)).open()
        self.screen.done()
        self.screen.begin("Airflow: making its database")
        migration = airflow.start(
            self.processes, environment, self.places, "db", "migrate", lasting=False
        )
        self._wait(lambda: [] if migration.process.poll() == 0 else ["the migration"])
        self.screen.begin("Airflow: starting scheduler, DAG processor, API server, triggerer")
        airflow.start_servers(self.processes, environment, self.places)
        self._wait(lambda: airflow.not_ready(port))

    def _wait(self, missing: Callable[[], list[str]]) -> None:
        """Show progress until nothing is *missing* any more."""
        end = time.monotonic() + START_SECONDS
        while names := missing():
            self.processes.check()
            if time.monotonic() > end:
                raise TooSlowError(f"Not there after {START_SECONDS} s: {', '.join(names)}.")
            self.screen.waiting(", ".join(names))
            time.sleep(0.25)
        self.screen.done()

    def _simulate(self, environment: dict[str, str]) -> Child:
        command = [sys.executable, "-m", "demo.simulate", str(self.places.shop)]
        if self.options.once:
            command += ["--steps", str(self.options.steps)]
        command += ["--per-second", str(self.options.per_second)]
        log = self.places.logs / "shop.log"
        return self.processes.start(
            "the shop", command, environment, log, lasting=not self.options.once
        )

    def _show(self, watch: Watch) -> int:
        self.screen.say("The shop is open. Ctrl-C stops everything.\n")
        while True:
            self._tick(watch)

    def _tick(self, watch: Watch) -> list[str]:
        """Look, show, rest; returns the streams that are behind the present moment."""
        lines = watch.lines()
        now = datetime.now(UTC)
        self.screen.table(table(lines, now))
        for _ in range(10 if self.screen.live else 50):
            self.processes.check()
            time.sleep(0.1)
        return behind(lines, now)

    def _judge(self, watch: Watch, simulator: Child) -> int:
        """Let the shop do its fixed amount of work, wait for the store, compare."""
        self.screen.say(f"The shop does {self.options.steps} things, then closes.\n")
        while simulator.process.poll() is None:
            self._tick(watch)
        self.processes.check()
        closed = datetime.now(UTC)
        end = time.monotonic() + CATCH_UP_SECONDS
        self.screen.say("\nThe shop is closed; waiting for the store to catch up.\n")
        while late := behind(watch.lines(), closed):
            if time.monotonic() > end:
                raise TooSlowError(f"Not caught up after {CATCH_UP_SECONDS} s: {', '.join(late)}.")
            self._tick(watch)
        self.screen.table(table(watch.lines(), datetime.now(UTC)))
        found = watch.comparisons()
        self.screen.say("\nSource and store, row by row:\n")
        self.screen.table(verdict(found))
        agreed = all(comparison.agrees for comparison in found)
        self.screen.say("\nThe store agrees with the source." if agreed else "\nThey DIFFER.")
        return 0 if agreed else 1


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; whatever happens, leave no process behind."""
    options = _options(arguments)
    screen = Screen()
    os.umask(0o077)
    demo = Demo(options, screen)
    try:
        lock = demo.places.lock()
    except BusyError as error:
        screen.say(str(error))
        return 2
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    code = 1
    try:
        code = demo.run()
    except KeyboardInterrupt:
        screen.say("\nStopping.")
        code = 1 if options.once else 0
    except DiedError as error:
        screen.say(f"\n{error} The end of its log ({error.log}):\n\n{tail(error.log)}")
    except TooSlowError as error:
        screen.say(f"\n{error}")
        for log in sorted(demo.places.logs.glob("*.log")):
            screen.say(f"\nThe end of {log}:\n\n{tail(log, 12)}")
    finally:
        _stop(demo.processes, screen)
        lock.close()
    return code


def _stop(processes: Processes, screen: Screen) -> None:
    def hurry(_number: int, _frame: FrameType | None) -> None:
        processes.hurry = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, hurry)
    if processes.children:
        screen.begin("stopping everything that was started")
        processes.end(airflow.CLIENTS)
        processes.stop()
        screen.done()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _options(arguments: list[str] | None) -> Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="fixed activity, compare, stop")
    parser.add_argument("--port", type=int, default=8080, help="of Airflow's pages")
    parser.add_argument("--steps", type=int, default=ONCE_STEPS, help="activity with --once")
    parser.add_argument("--per-second", type=float, default=6, help="how busy the shop is")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
