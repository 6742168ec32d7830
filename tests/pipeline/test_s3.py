"""The whole digits pipeline with its store in a bucket, and a source in another."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.pipeline.conftest import Installation, install
from tests.servers.s3 import S3Server

pytestmark = pytest.mark.slow


SMALL = (
    "end=2026-01-02",
    "tuning.trials=2",
    "tuning.epochs=1",
    "training.epochs=3",
    "gates=[{metric: accuracy, min: 0.2}]",
)
"""A fourth of the rows, and a model that is trained for a moment: where things are kept does not depend on that."""


def test_digits_in_a_bucket_are_what_they_are_in_a_folder(
    s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bucket = s3_server.bucket()
    env = {**s3_server.environment, "UPDRAFT_STORE": f"s3://{bucket}/artifacts"}
    remote, here = install(tmp_path_factory.mktemp("s3"), **env), install(tmp_path_factory.mktemp("folder"))
    made = _run(remote)
    assert {"ingest", "train", "evaluate", "package", "deploy"} < {m["stage"] for m in made}
    assert [_identity(m) for m in made] == [_identity(m) for m in _run(here)]
    assert not (remote.home / "store").exists()
    assert {m["cache"] for m in _run(remote)} == {"HIT"}


def _run(installation: Installation) -> list[dict[str, Any]]:
    done = installation.updraft("run", "digits", "--json", *(word for field in SMALL for word in ("--set", field)))
    assert done.returncode == 0, done.stderr
    manifests: list[dict[str, Any]] = json.loads(done.stdout)
    return manifests


def _identity(manifest: Mapping[str, Any]) -> tuple[Any, ...]:
    return manifest["stage"], manifest["partition"], manifest["key"], manifest["metrics"].get("weights_digest")


def test_a_project_made_from_a_bucket_runs(
    local: Installation, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bucket, client, landed = s3_server.bucket(), s3_server.client, local.home / "landing" / "digits"
    for path in sorted(landed.glob("date=2026-01-0[12]/**/*")):
        if path.is_file():
            client.upload_file(str(path), bucket, f"drops/{path.relative_to(landed)}")
    folder = tmp_path_factory.mktemp("source")
    (folder / "projects").mkdir()
    env = {**s3_server.environment, "UPDRAFT_PROJECTS": str(folder / "projects")}
    remote = install(folder, **env)
    done = remote.updraft("init", "scans", "--from", f"s3://{bucket}/drops")
    assert done.returncode == 0, done.stdout + done.stderr
    done = remote.updraft("backfill", "scans", "--local", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    validated = remote.manifests("scans")["validate", "2026-01-02"]
    assert validated["rows"]["published"] == local.manifests()["validate", "2026-01-02"]["rows"]["published"]
