"""The doctor names the fault and the fix."""

import socket
from importlib.metadata import version
from pathlib import Path

import pytest

from tasks.core.errors import UpdraftError
from tasks.core.settings import ROOT, Settings
from tasks.core.settings import settings as global_settings
from tasks.platform import doctor


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a home and ports of their own."""
    ports = []
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    return Settings(home=tmp_path / "home", airflow_port=ports[0], serving_port=ports[1])


def test_this_installation_is_sound_and_looking_changes_nothing(settings: Settings) -> None:
    checks = doctor.diagnose(settings)
    assert [check for check in checks if not check.ok] == []
    assert {check.name for check in checks} >= {"python", "packages", "horovod", "projects", "ports", "services"}
    assert not settings.home.exists()


def test_a_package_of_another_version_is_named_with_the_fix(settings: Settings, tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"httpx=={version('httpx')} \\\n    --hash=sha256:0\npsutil==0.0.1 \\\nno-such-package==1.0\n")
    (packages,) = [check for check in doctor.diagnose(settings, lock) if check.name == "packages"]
    assert not packages.ok
    assert "psutil" in packages.message and "no-such-package is missing" in packages.message
    assert "httpx" not in packages.message
    assert "make install" in packages.message


def test_a_taken_port_is_a_fault(settings: Settings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", settings.serving_port))
        other.listen()
        with pytest.raises(UpdraftError, match=str(settings.serving_port)) as fault:
            doctor.check_ports(settings)
    assert "UPDRAFT_SERVING_PORT" in fault.value.fix


def test_a_machine_without_a_compiler_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UpdraftError, match="compiler"):
        doctor.check_compiler()


def test_each_project_that_cannot_be_read_is_named(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "projects" / "digits.yaml").read_text()
    for name, content in (("good", text.replace("name: digits", "name: good")), ("torn", text + "\ngates: [")):
        (tmp_path / f"{name}.yaml").write_text(content)
    (tmp_path / "odd.yaml").write_text(text.replace("family: convnet", "family: [convent]"))
    monkeypatch.setenv("UPDRAFT_PROJECTS", str(tmp_path))
    global_settings.cache_clear()
    with pytest.raises(UpdraftError) as fault:
        doctor.check_projects()
    assert "torn.yaml, line" in fault.value.message and "odd.yaml" in fault.value.message
    assert "good.yaml" not in fault.value.message
