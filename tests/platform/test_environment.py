"""The generated environment of Airflow, and its secrets."""

from pathlib import Path

import pytest

from tasks.core.settings import ROOT, Settings
from tasks.platform.environment import admin_password, airflow_env, airflow_home, airflow_url
from tasks.platform.services import platform


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a home of their own."""
    return Settings(home=tmp_path / "home", airflow_port=18123, serving_port=13123, warm=False)


def test_airflow_reads_our_dags_and_listens_where_the_settings_say(settings: Settings) -> None:
    env = airflow_env(settings)
    assert env["AIRFLOW__CORE__DAGS_FOLDER"] == str(ROOT / "dags")
    assert env["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:18123/execution/"
    assert env["AIRFLOW__API__PORT"] == "18123"
    assert env["AIRFLOW_HOME"] == str(settings.home / "airflow")


def test_every_process_gets_the_same_settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    env = airflow_env(settings)
    for name in ("HOME", "STORE", "DATABASE_URL", "AIRFLOW_PORT", "SERVING_PORT", "HOST", "WARM", "PROJECTS"):
        monkeypatch.setenv(f"UPDRAFT_{name}", env[f"UPDRAFT_{name}"])
    assert Settings() == settings


def test_bytecode_is_used_and_other_airflow_settings_are_not(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", "1000")
    env = airflow_env(settings)
    assert "PYTHONDONTWRITEBYTECODE" not in env
    assert env["AIRFLOW__CORE__PARALLELISM"] != "1000"


def test_secrets_are_made_once_and_only_their_owner_reads_them(settings: Settings) -> None:
    first, password = airflow_env(settings), admin_password(settings)
    assert airflow_env(settings)["AIRFLOW__API_AUTH__JWT_SECRET"] == first["AIRFLOW__API_AUTH__JWT_SECRET"]
    assert admin_password(settings) == password
    files = [path for path in airflow_home(settings).iterdir() if path.is_file()]
    assert len(files) == 3
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert airflow_home(settings).stat().st_mode & 0o777 == 0o700


def test_two_homes_have_different_secrets(settings: Settings, tmp_path: Path) -> None:
    other = settings.model_copy(update={"home": tmp_path / "other"})
    names = ("AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__API__SECRET_KEY")
    assert not {airflow_env(settings)[name] for name in names} & {airflow_env(other)[name] for name in names}


def test_no_secret_is_shown_in_a_service_or_on_its_command_line(settings: Settings) -> None:
    secrets = {airflow_env(settings)["AIRFLOW__API_AUTH__JWT_SECRET"], admin_password(settings)}
    for service in platform(settings):
        assert not any(secret in repr(service) + " ".join(service.command) for secret in secrets)


def test_describing_the_platform_writes_nothing(settings: Settings) -> None:
    assert {service.port for service in platform(settings)} == {18123, 13123, None}
    assert not settings.home.exists()


def test_an_address_to_listen_on_everywhere_is_reached_on_this_machine(settings: Settings) -> None:
    assert airflow_url(settings.model_copy(update={"host": "0.0.0.0"})) == "http://127.0.0.1:18123"
