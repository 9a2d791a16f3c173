"""The demo's folder is private, and its Airflow listens to nobody else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from demo import airflow
from demo.places import BusyError, Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "demo" / "once")


def test_only_the_owner_can_read_the_folder_and_the_passwords(places: Places) -> None:
    secrets = places.prepare(fresh=False)
    assert places.folder.stat().st_mode & 0o077 == 0
    for file in places.folder.glob("*.json"):
        assert file.stat().st_mode & 0o077 == 0
    assert json.loads(places.passwords.read_text()) == {"admin": secrets["password"]}


def test_secrets_are_made_up_once_and_anew_for_a_fresh_demo(places: Places) -> None:
    first = places.prepare(fresh=False)
    places.shop.write_text("kept")
    assert places.prepare(fresh=False) == first
    assert places.shop.exists()
    fresh = places.prepare(fresh=True)
    assert set(fresh.values()).isdisjoint(first.values())
    assert not places.shop.exists()


def test_two_demos_in_one_folder_are_refused_with_the_first_ones_number(places: Places) -> None:
    with places.lock(), pytest.raises(BusyError, match=r"already \(process \d+\)"):
        places.lock()
    places.lock().close()


def test_no_process_listens_beyond_this_machine_or_follows_another_airflows_settings(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__API__HOST", "0.0.0.0")  # noqa: S104
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://elsewhere/airflow")
    monkeypatch.setenv("TIDEGATE_STAGE", "s3://elsewhere")
    secrets = places.prepare(fresh=False)
    settings = airflow.environment(places, 8099, secrets)
    assert settings["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert "8099" in settings["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]
    assert "elsewhere" not in str(settings)


def test_airflow_finds_the_warm_settings_and_only_the_shops_pipeline_file(places: Places) -> None:
    places.prepare(fresh=False)
    assert (places.airflow / "config" / "airflow_local_settings.py").is_file()
    assert [file.name for file in places.pipelines.iterdir()] == ["shop.yaml"]


def test_the_shop_is_known_to_tidegate_by_the_environment_alone(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidegate.connections import from_environment

    settings = airflow.environment(places, 8099, places.prepare(fresh=False))
    for name in ("AIRFLOW_CONN_SHOP", "AIRFLOW_CONN_TIDEGATE_STORE"):
        monkeypatch.setenv(name, settings[name])
    assert from_environment("shop").database == str(places.shop)
    assert from_environment("tidegate_store").database == str(places.store)


def test_an_airflow_that_does_not_answer_is_not_ready() -> None:
    from demo.ports import choose

    assert airflow.not_ready(choose(18_080)) == ["api-server"]
