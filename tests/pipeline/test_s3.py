"""The whole digits pipeline with its store in a bucket, and a source in another."""

import json

import pytest

from tests.pipeline.conftest import Installation, install
from tests.servers.s3 import S3Server

pytestmark = pytest.mark.slow


def test_digits_runs_with_its_store_in_a_bucket(
    local: Installation, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bucket = s3_server.bucket()
    env = {**s3_server.environment, "UPDRAFT_STORE": f"s3://{bucket}/artifacts"}
    remote = install(tmp_path_factory.mktemp("s3"), **env)
    # Checkpoints in a bucket have tests of their own; how many there are is in no key but the card's, which shows the
    # whole spec, and in that of deploy, which publishes the card.
    asked = ("run", "digits", "--json", "--set", "training.checkpoints.every=30")
    done = remote.updraft(*asked)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert {"ingest", "train", "evaluate", "package", "deploy"} < {m["stage"] for m in made}
    for stage, key in ((m["stage"], m["key"]) for m in made if m["stage"] not in ("card", "deploy")):
        assert (local.home / "store" / "digits" / stage / key).is_dir(), stage
    assert not (remote.home / "store").exists()
    assert {m["cache"] for m in json.loads(remote.updraft(*asked).stdout)} == {"HIT"}


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
