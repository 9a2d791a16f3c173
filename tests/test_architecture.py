"""What the code promises about itself: who imports what, what is never called, how long it is."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

import tidegate
from tidegate.errors import TidegateError

ROOT = Path(__file__).parents[1]
INCLUDE = ROOT / "include"
LIBRARY = sorted((INCLUDE / "tidegate").rglob("*.py"))
DEMO = sorted((INCLUDE / "demo").rglob("*.py"))
EDGES = sorted([*(ROOT / "dags").glob("*.py"), *(ROOT / "plugins").glob("*.py")])
SPEAKERS = set((INCLUDE / "tidegate" / "cli").glob("*.py")) | {*DEMO}

HEAVY = ("pandas", "numpy", "pyarrow", "great_expectations", "scipy")
MODULE_LINES = 300
FUNCTION_LINES = 45

# Type inference corrupts identifiers; the others run or trust what they are given.
BANNED_METHODS = {"convert_dtypes", "infer_objects", "read_pickle", "to_pickle", "mktemp"}
BANNED_FUNCTIONS = {"eval", "exec", "compile", "__import__"}
BANNED_MODULES = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"}
# Signals between two modules, never seen by a caller of the package: where each is caught.
SIGNALS = {
    "tidegate.coming.EndedError": "path.py",
    "tidegate.clean.functions.UnfitError": "clean/expression.py",
    "tidegate.sources.sql.dialect.UndecodableError": "sources/sql/session.py",
    "tidegate.sources.rows.fitting.UnfitError": "sources/rows/cells.py",
    "tidegate.validate.engine.EvaluationError": "validate/suite.py",
}
# A YAML loader of our own: the only place that may hand text to PyYAML.
YAML_READERS = {"document.py", "syntax.py"}


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of every import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield node.lineno, module
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def run_python(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, "PYTHONPATH": str(INCLUDE), **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def committed() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("not a Git clone")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_every_error_descends_from_the_one_root() -> None:
    strangers = set()
    for found in pkgutil.walk_packages(tidegate.__path__, "tidegate."):
        if found.name.startswith("tidegate.on_airflow") or found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        for name, value in inspect.getmembers(module, inspect.isclass):
            if issubclass(value, Exception) and value.__module__ == found.name:
                if not issubclass(value, TidegateError):
                    strangers.add(f"{found.name}.{name}")
                assert name.endswith("Error"), name
    assert strangers == set(SIGNALS)
    for signal, place in SIGNALS.items():
        text = (INCLUDE / "tidegate" / place).read_text(encoding="utf-8")
        assert re.search(rf"except (\w+\.)?{signal.rsplit('.', 1)[1]}\b", text), signal


@pytest.mark.parametrize("file", [*LIBRARY, *DEMO], ids=name_of)
def test_only_one_package_imports_airflow(file: Path) -> None:
    if file.parent == INCLUDE / "tidegate" / "on_airflow":
        return
    assert [(line, name) for line, name in imported(tree_of(file)) if inside(name, "airflow")] == []


@pytest.mark.parametrize("file", [*LIBRARY, *DEMO, *EDGES], ids=name_of)
def test_imports_are_spelled_in_full(file: Path) -> None:
    wrong = [
        (line, name) for line, name in imported(tree_of(file))
        if name.startswith(".") or inside(name, "include")
        or any(inside(name, module) for module in BANNED_MODULES)
    ]  # fmt: skip
    assert wrong == []


@pytest.mark.parametrize("file", [*LIBRARY, *DEMO, *EDGES], ids=name_of)
def test_what_is_banned_is_not_called(file: Path) -> None:
    found = []
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Assert):
            found.append((node.lineno, "assert"))
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Attribute):
            of_yaml = isinstance(called.value, ast.Name) and called.value.id == "yaml"
            if called.attr in BANNED_METHODS:
                found.append((node.lineno, called.attr))
            if of_yaml and "load" in called.attr and file.name not in YAML_READERS:
                found.append((node.lineno, f"yaml.{called.attr}"))
        elif isinstance(called, ast.Name):
            if called.id in BANNED_FUNCTIONS:
                found.append((node.lineno, called.id))
            if called.id == "print" and file not in SPEAKERS:
                found.append((node.lineno, "print"))
    assert found == []


@pytest.mark.parametrize("file", [*LIBRARY, *DEMO], ids=name_of)
def test_modules_and_functions_stay_short(file: Path) -> None:
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= MODULE_LINES, f"{lines} lines"
    long = [
        f"{node.name}: {length} lines"
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]
    assert long == []


@pytest.mark.parametrize("file", [*LIBRARY, *DEMO], ids=name_of)
def test_a_module_says_its_role_in_its_first_line(file: Path) -> None:
    first = (ast.get_docstring(tree_of(file)) or "").split("\n\n")[0]
    assert first
    assert first[-1] in ".!?:"


def test_no_module_is_called_after_nothing() -> None:
    nothing = {"utils", "util", "helpers", "helper", "common", "base", "core", "misc", "lib"}
    assert [name_of(file) for file in LIBRARY if {file.stem, file.parent.name} & nothing] == []


@pytest.mark.parametrize(
    "module",
    ["tidegate.pipeline.reader", "tidegate.pipeline.schema", "tidegate.path", "tidegate.describe"],
)
def test_reading_pipeline_files_loads_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}\nprint(*sorted(sys.modules))"
    loaded = set(run_python(program).split())
    assert loaded & {*HEAVY, "sqlalchemy", "pymysql", "psycopg", "airflow"} == set()


def test_building_all_dags_loads_nothing_heavy(tmp_path: Path) -> None:
    program = "import sys\nfrom tidegate.on_airflow import build_dags\nbuild_dags()\n"
    out = run_python(
        program + "print(*sorted(sys.modules))",
        AIRFLOW_HOME=str(tmp_path), AIRFLOW__CORE__LOAD_EXAMPLES="False",
    )  # fmt: skip
    assert set(out.split()) & set(HEAVY) == set()


def test_the_folder_of_plugins_holds_one_module() -> None:
    # Airflow runs every file below plugins/ and keeps it under its bare name.
    assert [file.name for file in (ROOT / "plugins").rglob("*.py")] == ["tidegate_plugin.py"]


def test_decisions_have_a_date_and_a_name_of_their_own() -> None:
    names = [file.stem for file in (ROOT / "docs" / "decisions").glob("*.md")]
    assert names
    for name in names:
        match = re.fullmatch(r"(\d{4}-\d{2}-\d{2})-([a-z0-9-]+)", name)
        assert match, name
        date.fromisoformat(match[1])
    slugs = Counter(name[11:] for name in names)
    assert [slug for slug, count in slugs.items() if count > 1] == []


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_files_and_folders_named_in_documents_exist(document: str) -> None:
    place = ROOT / document
    if not place.exists():
        pytest.skip(f"{document} is not written yet")
    text = place.read_text(encoding="utf-8")
    quoted = re.findall(r"`([\w.-]+(?:/[\w.-]+)*/?)`", text)
    linked = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    roots = ("include/", "dags/", "plugins/", "config/", "tests/", "docs/", "scripts/", ".ci/")
    named = [name for name in quoted if name.startswith(roots)] + linked
    # What readers are told to write themselves.
    named = [name for name in named if not name.startswith("include/pipelines/")]
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md"])
def test_every_file_of_a_drawn_tree_exists(document: str) -> None:
    place = ROOT / document
    if not place.exists():
        pytest.skip(f"{document} is not written yet")
    known = {path.name for path in [*committed(), *LIBRARY, *DEMO]}
    text = place.read_text(encoding="utf-8")
    drawn = re.findall(r"^[ │├└─]*([a-z_]+\.(?:py|yaml|md|txt|toml))\s{2,}", text, re.MULTILINE)
    assert sorted({name for name in drawn if name not in known}) == []


def test_commands_named_in_documents_are_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for document in ROOT.glob("*.md"):
        text = document.read_text(encoding="utf-8")
        named = set(re.findall(r"(?:`|^\s*\$?\s*)make ([a-z]+)", text, re.MULTILINE))
        assert named <= targets, document.name


def test_no_committed_text_names_a_place_of_somebodys_machine() -> None:
    places = re.compile(r"(?<![\w.])/(?:work|root|home/(?!airflow\b)\w+|tmp/lab|Users)/")
    found = []
    for path in committed():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{name_of(path)}:{number}"
            for number, line in enumerate(text.splitlines(), 1)
            if places.search(line) and path != Path(__file__)
        ]
    assert found == []
