"""Where the peers come from: pinned packages of PyPI, an environment for each, made on first use.

Versions are pinned here and nowhere else. ingestr and Sling are those of the newest packages that
hold their program: later ones on PyPI fetch it from GitHub when they are first started.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import tidegate

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidegate" / "bench"
CPU = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
PINS = {
    "dlt": [
        "dlt[postgres,sql_database]==1.31.0", "connectorx==0.4.6", "pyarrow==26.0.1",
        "adbc-driver-postgresql==1.13.0", "pymysql==1.2.4", "sqlalchemy==2.1.9",
    ],
    "ingestr": ["ingestr==1.1.22"],
    "sling": [f"sling-linux-{CPU}==1.4.11"],
}  # fmt: skip
_PROGRAMS = {
    "dlt": "bin/python",
    "ingestr": "bin/ingestr",
    "sling": f"lib/*/site-packages/sling_linux_{CPU}/bin/sling-linux-{CPU}",
}


def versions() -> dict[str, str]:
    """Of the tools and of what they stand on."""
    pairs = [pin.split("==") for pins in PINS.values() for pin in pins]
    pinned = {name.partition("[")[0]: version for name, version in pairs}
    return {"Tidegate": tidegate.__version__, "Python": platform.python_version(), **pinned}


def program(name: str) -> str:
    """The peer's program, or its Python. Raises OSError or CalledProcessError without one."""
    pins = PINS[name]
    folder = CACHE / f"{name}-{pins[0].split('==')[1]}"
    done = folder / "installed.txt"
    if not done.exists() or done.read_text("utf-8") != "\n".join(pins):
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *pins], check=True, stdout=sys.stderr)
        done.write_text("\n".join(pins), "utf-8")
    found = next(folder.glob(_PROGRAMS[name]), None)
    if found is None:
        raise FileNotFoundError(f"{folder} has no {_PROGRAMS[name]}")
    if name == "sling":
        found.chmod(0o755)  # its wheel forgets that
    return str(found)
