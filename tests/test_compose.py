"""The production setup agrees with the project, with Airflow, and with itself."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.providers.celery import get_provider_info

from tidegate import objects
from tidegate.connections import parse
from tidegate.fields import seconds
from tidegate.pipeline.reader import read_all

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
AIRFLOW = {name: value for name, value in SERVICES.items() if name.startswith("airflow-")}
WRITERS = {"commerce", "community"}
"""They write to samples, and nobody waits for them."""
TESTS = {"tests"}
"""They end by themselves; as root, in a container that is thrown away."""
STAGE = {"s3"}
"""Where tasks hand data to each other, when no volume does."""
SAMPLES = (
    {name for name, value in SERVICES.items() if value.get("profiles")} - WRITERS - TESTS - STAGE
)
EXAMPLE = dict(
    line.split("=", 1)
    for line in (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)
SECRET = re.compile(r"PASSWORD|SECRET|_KEY$|TOKEN")
VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?:(?P<rule>:?[-?])(?P<rest>[^}]*))?\}")

OPTIONAL = {"SAMPLE_SOURCE_PASSWORD", "STAGE_S3_PASSWORD"}
"""Of services that a profile starts; without them nobody is let in."""


def environment(name: str) -> dict[str, str]:
    return dict(SERVICES[name].get("environment", {}))


def filled(text: str) -> str:
    """*text* as it stands when every required variable is set to ``x1``."""

    def value(match: re.Match[str]) -> str:
        return match["rest"] if match["rule"] == ":-" else "x1"

    return VARIABLE.sub(value, text)


def versions(lock: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock, re.MULTILINE):
        found.setdefault(name.lower(), set()).add(version)
    return found


def test_the_services_of_airflow_3_with_celery_are_all_there() -> None:
    assert set(AIRFLOW) == {
        "airflow-apiserver", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer",
        "airflow-worker", "airflow-init",
    }  # fmt: skip
    others = {"metadata-db", "store-db", "redis"} | STAGE | SAMPLES | WRITERS | TESTS
    assert others == set(SERVICES) - set(AIRFLOW)
    assert {"mariadb", "mongodb", "mysql"} == SAMPLES


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned_to_a_patch_release(name: str) -> None:
    image = filled(SERVICES[name]["image"])
    assert re.fullmatch(r"[a-z/-]+:\d+\.\d+(\.\d+)?(-[a-z]+)?", image), image


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_cannot_gain_privileges_and_keeps_its_log_short(name: str) -> None:
    service = SERVICES[name]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["logging"]["options"]["max-size"]
    once = name in {"airflow-init", *TESTS}
    assert service["restart"] == ("no" if once else "unless-stopped")


@pytest.mark.parametrize("name", sorted(set(SERVICES) - SAMPLES - STAGE - TESTS))
def test_a_service_cannot_change_its_image(name: str) -> None:
    assert SERVICES[name]["read_only"] is True
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name].get("user") != "root"


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"airflow-init"} - WRITERS - TESTS))
def test_a_service_that_stays_tells_its_health(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert seconds(check["timeout"]) <= seconds(check["interval"])
    assert seconds(SERVICES[name]["stop_grace_period"]) >= 30


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_services_that_exist_and_can_be_waited_for(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        if how["condition"] == "service_completed_successfully":
            assert other == "airflow-init"
        else:
            assert how["condition"] == "service_healthy"
            assert "healthcheck" in SERVICES[other]


def test_every_variable_is_explained_and_every_explained_variable_is_used() -> None:
    used = {match["name"] for match in VARIABLE.finditer(TEXT)}
    assert used == set(EXAMPLE)


def test_a_secret_has_no_default() -> None:
    for match in VARIABLE.finditer(TEXT):
        if not SECRET.search(match["name"]):
            continue
        if match["name"] in OPTIONAL:
            assert match[0] == f"${{{match['name']}:-}}"
        else:
            assert match["rule"] == ":?", match[0]
            assert match["rest"]
    assert {name for name in EXAMPLE if SECRET.search(name) and EXAMPLE[name]} == set()


def test_a_default_in_the_example_is_the_default_of_the_file() -> None:
    for match in VARIABLE.finditer(TEXT):
        if match["rule"] == ":-":
            assert EXAMPLE[match["name"]] == match["rest"], match["name"]


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_is_written_down(name: str) -> None:
    for variable, value in environment(name).items():
        if SECRET.search(variable) and not variable.endswith("_RANDOM_ROOT_PASSWORD"):
            assert VARIABLE.fullmatch(value), variable
        for password in re.findall(r"://[^:/@]*:([^@]+)@", value):
            assert VARIABLE.fullmatch(password), variable


def test_what_must_be_identical_in_all_containers_of_airflow_is() -> None:
    own = {"DUMB_INIT_SETSID"}
    seen = [
        {key: value for key, value in environment(name).items()
         if key not in own and not key.startswith("_AIRFLOW_")}
        for name in AIRFLOW
    ]  # fmt: skip
    assert all(other == seen[0] for other in seen)
    assert {
        "AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API__SECRET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
    } <= set(seen[0])  # fmt: skip


def test_every_setting_of_airflow_exists_in_this_airflow() -> None:
    package = importlib.util.find_spec("airflow")
    assert package
    assert package.submodule_search_locations
    template = Path(package.submodule_search_locations[0]) / "config_templates" / "config.yml"
    known = {
        section: set(value["options"])
        for section, value in {
            **yaml.safe_load(template.read_text(encoding="utf-8")),
            **get_provider_info.get_provider_info()["config"],
        }.items()
    }
    unknown = [
        variable
        for name in AIRFLOW
        for variable in environment(name)
        if variable.startswith("AIRFLOW__")
        for _, section, option in [variable.lower().split("__", 2)]
        if option not in known.get(section, set())
    ]
    assert unknown == []


def test_the_addresses_lead_to_the_services_they_mean() -> None:
    settings = {key: filled(value) for key, value in environment("airflow-worker").items()}
    store = parse("tidegate_store", settings["AIRFLOW_CONN_TIDEGATE_STORE"])
    assert (store.kind, store.host, store.port, store.password) == (
        "postgres", "store-db", 5432, "x1",
    )  # fmt: skip
    assert store.user == environment("store-db")["POSTGRES_USER"]
    assert store.database == environment("store-db")["POSTGRES_DB"]
    assert store.options["insecure"]
    assert "store" in SERVICES["store-db"]["networks"]
    assert COMPOSE["networks"]["store"]["internal"]

    metadata = environment("metadata-db")
    address = f"airflow:x1@metadata-db:5432/{metadata['POSTGRES_DB']}"
    assert metadata["POSTGRES_USER"] == "airflow"
    assert settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == f"postgresql+psycopg2://{address}"
    assert settings["AIRFLOW__CELERY__RESULT_BACKEND"] == f"db+postgresql+psycopg2://{address}"
    assert settings["AIRFLOW__CELERY__BROKER_URL"] == "redis://:x1@redis:6379/0"
    server = settings["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]
    assert server == "http://airflow-apiserver:8080/execution/"


@pytest.mark.parametrize(
    ("variable", "kind", "writer", "host"),
    [
        ("AIRFLOW_CONN_ECOMMERCE", "mysql", "commerce", "mysql"),
        ("AIRFLOW_CONN_SOCIAL", "mongo", "community", "mongodb"),
    ],
)
def test_a_case_is_written_where_it_is_read_and_not_known_without_a_password(
    variable: str, kind: str, writer: str, host: str
) -> None:
    value = environment("airflow-worker")[variable]
    assert value == environment(writer)[variable]
    only = re.fullmatch(r"\$\{SAMPLE_SOURCE_PASSWORD:\+(.+)\}", value)
    assert only
    endpoint = parse("case", only[1].replace("${SAMPLE_SOURCE_PASSWORD:-}", "x1"))
    assert (endpoint.kind, endpoint.host, endpoint.user, endpoint.password) == (
        kind, host, "tidegate", "x1",
    )  # fmt: skip
    assert endpoint.database in {environment(host).get("MYSQL_DATABASE"), "social_media"}
    assert "cases" in SERVICES[host]["profiles"]
    module = SERVICES[writer]["entrypoint"][2]
    assert (ROOT / "include" / Path(*module.split("."))).with_suffix(".py").exists()
    (case,) = (
        file.source for file in read_all(ROOT / "include" / "cases")
        if file.name == SERVICES[writer]["entrypoint"][3]
    )  # fmt: skip
    assert case
    assert variable == f"AIRFLOW_CONN_{case.connection.upper()}"


def test_only_the_api_server_can_be_reached_and_only_from_this_machine() -> None:
    published = {name: value["ports"] for name, value in SERVICES.items() if "ports" in value}
    assert list(published) == ["airflow-apiserver"]
    assert [filled(port) for port in published["airflow-apiserver"]] == ["127.0.0.1:8080:8080"]
    assert not any(
        "network_mode" in value or value.get("privileged") for value in SERVICES.values()
    )


def test_databases_and_queue_have_no_way_out() -> None:
    internal = {
        name for name, value in COMPOSE["networks"].items() if (value or {}).get("internal")
    }
    for name in ("metadata-db", "store-db", "redis", "s3"):
        assert set(SERVICES[name]["networks"]) <= internal
    used = {network for value in SERVICES.values() for network in value["networks"]}
    assert used == set(COMPOSE["networks"])


@pytest.mark.parametrize("name", AIRFLOW)
def test_a_container_reaches_whatever_it_is_told_to_wait_for(name: str) -> None:
    mine = set(SERVICES[name]["networks"])
    for other in SERVICES[name]["depends_on"]:
        if other not in {"airflow-init", "store-db"}:
            assert mine & set(SERVICES[other]["networks"]), other


def test_every_mounted_path_exists_and_every_volume_is_declared() -> None:
    volumes = set()
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            source, target, *mode = mount.split(":")
            assert target.startswith("/")
            if source.startswith("."):
                assert (ROOT / source).exists(), source
                assert mode == ["ro"]
            else:
                volumes.add(source)
    assert volumes == set(COMPOSE["volumes"])


def test_workers_share_what_tasks_hand_to_each_other() -> None:
    for name in AIRFLOW:
        assert "tidegate:/opt/airflow/tidegate" in SERVICES[name]["volumes"]
        assert environment(name)["TIDEGATE_HOME"] == "/opt/airflow/tidegate"
        stage = filled(environment(name)["TIDEGATE_STAGE"])
        assert stage.startswith("file:///opt/airflow/tidegate/")


def test_the_s3_between_tasks_lets_in_whoever_the_connection_says() -> None:
    value = environment("airflow-worker")["AIRFLOW_CONN_TIDEGATE_STAGE"]
    only = re.fullmatch(r"\$\{STAGE_S3_PASSWORD:\+(.+)\}", value)
    assert only
    endpoint = parse("tidegate_stage", only[1].replace("${STAGE_S3_PASSWORD:-}", "x1"))
    said = objects.options(endpoint, "stage")
    port = re.search(r"-s3\.port=(\d+)", " ".join(SERVICES["s3"]["command"]))
    assert port
    assert said["endpoint_url"] == f"http://s3:{port[1]}"
    served = {name: filled(text) for name, text in environment("s3").items()}
    assert said["key"] == served["AWS_ACCESS_KEY_ID"]
    assert environment("s3")["AWS_SECRET_ACCESS_KEY"] == "${STAGE_S3_PASSWORD:-}"
    for name in ("airflow-worker", "airflow-apiserver"):
        assert {*SERVICES[name]["networks"]} & {*SERVICES["s3"]["networks"]}
    assert "s3://tidegate_stage@stage/increments" in TEXT


@pytest.mark.parametrize("password", ["", "x1"])
def test_the_s3_between_tasks_does_not_start_without_a_password(password: str) -> None:
    shell, option, script, name = SERVICES["s3"]["entrypoint"]
    script = script.replace("$$", "$").replace("/entrypoint.sh", "echo")
    done = subprocess.run(
        [shell, option, script, name, *SERVICES["s3"]["command"]],
        env={"AWS_SECRET_ACCESS_KEY": password, "PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) is bool(password)
    assert done.stdout.startswith("server -ip=s3") is bool(password)


def test_no_more_tasks_are_sent_than_workers_have_processes_for() -> None:
    settings = {key: filled(value) for key, value in environment("airflow-scheduler").items()}
    assert settings["AIRFLOW__CORE__PARALLELISM"] == settings["AIRFLOW__CELERY__WORKER_CONCURRENCY"]


def test_a_slow_api_server_is_not_taken_for_a_dead_worker() -> None:
    settings = environment("airflow-scheduler")
    silence = float(settings["AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"])
    assert silence > 3 * float(settings["AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT"])


def test_the_tests_run_as_they_do_in_continuous_integration() -> None:
    script = SERVICES["tests"]["command"][-1]
    assert script.endswith("exec /tidegate/.ci/run\n")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "profiles" in SERVICES["tests"]


def test_redis_waits_longer_than_the_longest_task_before_it_gives_it_to_another() -> None:
    option = "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT"
    longest = max(
        (
            seconds(stream.execution_timeout)
            for file in read_all(ROOT / "include" / "pipelines")
            for stream in file.streams.values()
        ),
        default=0.0,
    )
    assert float(environment("airflow-worker")[option]) > longest


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The commands of this Airflow, each with its subcommands."""
    program = (
        "import json\n"
        "from airflow.cli.cli_config import core_commands\n"
        "print(json.dumps({c.name: [s.name for s in getattr(c, 'subcommands', ())]"
        " for c in core_commands}))"
    )
    home = str(tmp_path_factory.mktemp("airflow"))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, "AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    # Of the Celery provider, which only the image has.
    return {**found, "celery": ["worker"]}


def test_every_command_exists_in_this_airflow(commands: dict[str, list[str]]) -> None:
    for service in AIRFLOW.values():
        command = service["command"]
        assert command[0] in commands
        if commands[command[0]]:
            assert command[1] in commands[command[0]]
        check = service.get("healthcheck", {}).get("test", [])
        if check[1:2] == ["airflow"]:
            assert check[3] in commands[check[2]]


def test_the_image_is_of_the_airflow_and_a_python_we_support() -> None:
    first = re.search(
        r"^FROM apache/airflow:slim-([\d.]+)-python([\d.]+)$", DOCKERFILE, re.MULTILINE
    )
    assert first
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert f"\napache-airflow=={first[1]}\n" in requirements
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lowest = project["requires-python"].removeprefix(">=")
    assert [int(part) for part in first[2].split(".")] >= [int(part) for part in lowest.split(".")]
    header = (ROOT / "requirements-compose.txt").read_text(encoding="utf-8")
    assert "-r requirements.txt" in header


def test_the_image_copies_only_what_exists_and_is_not_ignored() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = re.findall(r"^COPY (?:--\S+ )*(\S+) \S+$", DOCKERFILE, re.MULTILINE)
    assert {"dags", "plugins", "config", "include"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignore, source


def test_the_image_does_not_run_as_root() -> None:
    assert re.findall(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE)[-1] == "airflow"


def test_the_image_installs_what_the_tests_ran_with() -> None:
    assert "--require-hashes" in DOCKERFILE
    image_lock = (ROOT / "requirements-compose.lock").read_text(encoding="utf-8")
    image = versions(image_lock)
    tested = versions((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    changed = {name for name in image.keys() & tested.keys() if not image[name] <= tested[name]}
    assert changed == set()
    wanted = versions(
        (ROOT / "requirements.txt").read_text(encoding="utf-8").replace("[binary]", "")
    )
    assert {name: image.get(name) for name in wanted} == wanted
    for name in ("celery", "redis", "asyncpg", "psycopg2-binary", "s3fs"):
        assert name in image
    for entry in re.split(r"\n(?=[a-zA-Z])", image_lock):
        assert entry.startswith("#") or "--hash=sha256:" in entry
