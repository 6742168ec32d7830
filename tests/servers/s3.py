"""A real S3 server for tests: the fixture ``s3``, one server process for the whole session."""

import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tasks.core.settings import ROOT, settings
from tests.servers.swift import ACCESS_KEY, SECRET_KEY


@dataclass(frozen=True)
class S3Server:
    """Where it listens, and how the platform is told so."""

    endpoint: str
    folder: Path

    def requests(self) -> list[str]:
        """What it was asked so far, as ``METHOD /bucket/key`` (percent-encoded)."""
        return (self.folder / "requests").read_text(encoding="utf-8").splitlines()

    @property
    def environment(self) -> Mapping[str, str]:
        """For this process or another: the endpoint and the credentials, none of this machine's own."""
        return {
            "UPDRAFT_S3_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    @property
    def client(self) -> Any:
        """A client of the test's own, to look behind the platform's back."""
        keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY, "region_name": "us-east-1"}
        needed = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
        config = Config(s3={"addressing_style": "path"}, **needed)
        return boto3.session.Session().client("s3", endpoint_url=self.endpoint, config=config, **keys)

    def bucket(self) -> str:
        """The name of a new bucket."""
        name = f"updraft-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=name)
        return name


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """The server, started once; it ends with the session, however that ends."""
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w") as log:
        command = [sys.executable, "-m", "tests.servers.swift", folder]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout
        port = process.stdout.readline().strip()
        assert port, (Path(folder) / "log").read_text()
        yield S3Server(f"http://127.0.0.1:{port}", Path(folder))
        process.terminate()
        process.wait()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The server, with this process's environment set to use it."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    settings.cache_clear()
    yield s3_server
    settings.cache_clear()
