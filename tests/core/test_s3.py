"""What is S3's own: few requests, resumed uploads, large files, and refusals in words."""

import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest

from tasks.core.artifacts import MANIFEST
from tasks.core.errors import BadInput, UpdraftError
from tasks.core.settings import ROOT, settings
from tasks.core.store import Store, open_files, open_store
from tests.servers.s3 import S3Server
from tests.servers.swift import PAGE, SECRET_KEY


@pytest.fixture
def bucket(s3: S3Server, home: Path) -> str:
    return s3.bucket()


@pytest.fixture
def store(bucket: str) -> Store:
    return open_store(f"s3://{bucket}/prefix")


def _artifact(store: Store, files: dict[str, bytes]) -> Path:
    folder = store.scratch("a")
    for name, data in {**files, MANIFEST: b"{}"}.items():
        (folder / name).write_bytes(data)
    return folder


def _asked(server: S3Server, bucket: str, method: str, since: int = 0) -> list[str]:
    """The keys below the prefix that were asked for so far, in order."""
    start = f"{method} /{bucket}/prefix/"
    lines = (urllib.parse.unquote(line) for line in server.requests()[since:])
    return [line.removeprefix(start) for line in lines if line.startswith(start)]


def _keys(server: S3Server, bucket: str) -> list[str]:
    return [found["Key"] for found in server.client.list_objects_v2(Bucket=bucket).get("Contents", ())]


def test_an_interrupted_upload_is_gone_on_with(s3: S3Server, bucket: str, store: Store) -> None:
    files = {f"{n}.bin": bytes([n]) * 100 for n in range(20)}
    assert store.publish(_artifact(store, files), "p/s/k")
    raw = [key for key in _keys(s3, bucket) if key.endswith(".bin")]
    s3.client.delete_object(Bucket=bucket, Key=f"prefix/p/s/k/{MANIFEST}")
    for key in raw[12:]:
        s3.client.delete_object(Bucket=bucket, Key=key)
    assert list(store.list("")) == []
    before = len(s3.requests())
    assert store.publish(_artifact(store, files), "p/s/k")
    sent = _asked(s3, bucket, "PUT", before)
    assert sorted(sent[:-1]) == sorted(key.removeprefix("prefix/") for key in raw[12:])
    assert sent[-1] == f"p/s/k/{MANIFEST}"
    assert {store.read_bytes(f"p/s/k/{name}") for name in files} == set(files.values())


def test_what_another_attempt_left_is_not_mixed_in(s3: S3Server, bucket: str, store: Store) -> None:
    store.publish(_artifact(store, {"a": b"dead", "b": b"dead"}), "p/s/k")
    s3.client.delete_object(Bucket=bucket, Key=f"prefix/p/s/k/{MANIFEST}")
    assert store.publish(_artifact(store, {"a": b"live"}), "p/s/k")
    assert list(store.list("p")) == ["p/s/k/a", f"p/s/k/{MANIFEST}"]
    assert [path.name for path in sorted(store.fetch("p/s/k").iterdir())] == ["a", MANIFEST]
    assert store.fetch("p/s/k/a").read_bytes() == b"live"
    store.delete("p/s/k")
    assert _keys(s3, bucket) == []


def test_an_artifact_is_downloaded_once(s3: S3Server, bucket: str, store: Store) -> None:
    store.publish(_artifact(store, {"a": b"1", "b": b"2"}), "p/s/k")
    store.fetch("p/s/k/a")
    for _ in range(2):
        assert open_store(store.uri).fetch("p/s/k").is_dir()
    names = [key.rpartition("/")[2] for key in _asked(s3, bucket, "GET") if "/.files/" in key]
    assert sorted(names) == ["a", "b"]


def test_a_file_that_is_there_is_asked_about_once(s3: S3Server, bucket: str, store: Store) -> None:
    store.put_new("p/raw/x", b"1")
    before = len(s3.requests())
    assert not store.put_new("p/raw/x", b"1")
    assert [line.partition(" ")[0] for line in s3.requests()[before:]] == ["PUT"]


@pytest.mark.slow
def test_large_files_travel_in_parts_and_many_files_in_pages(s3: S3Server, bucket: str, store: Store) -> None:
    large = bytes(range(256)) * 2**17  # 32 MiB
    files = {f"{n:03}": b"%d" % n for n in range(PAGE + 10)}
    assert store.publish(_artifact(store, {**files, "large": large}), "p/s/k")
    assert any(
        "partNumber=2" in key or "uploads" in key or key.endswith("/large") for key in _asked(s3, bucket, "POST")
    )
    assert len(list(store.list("p"))) == len(files) + 2
    folder = store.fetch("p/s/k")
    assert (folder / "large").read_bytes() == large
    assert store.read_range("p/s/k/large", 2**24 + 5, 3) == bytes([5, 6, 7])
    store.delete("p")
    assert _keys(s3, bucket) == []


def test_a_busy_server_is_asked_again(store: Store) -> None:
    store.write_bytes("p/fault-503-SlowDown", b"1")
    assert store.read_bytes("p/fault-503-SlowDown") == b"1"
    assert store.put_new("p/new-fault-409-ConditionalRequestConflict", b"2")
    assert store.read_bytes("p/new-fault-409-ConditionalRequestConflict") == b"2"


def test_other_failures_are_named(store: Store) -> None:
    with pytest.raises(UpdraftError, match="418 As asked"):
        store.write_bytes("p/fault-418-418", b"1")


def test_a_wrong_bucket_is_named(s3: S3Server, home: Path) -> None:
    for uri in ("s3://no-such-bucket/x", "s3://NOT A NAME/x", "s3://"):
        for opens in (open_store, open_files):
            with pytest.raises(BadInput, match="bucket") as failure:
                opens(uri)
            assert failure.value.fix


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong-and-private", "does not let us in"),
        ("AWS_ACCESS_KEY_ID", "nobody:private", "does not let us in"),
        ("AWS_SECRET_ACCESS_KEY", None, "no usable credentials"),
        ("AWS_PROFILE", "nowhere", "no usable credentials"),
        ("UPDRAFT_S3_ENDPOINT_URL", "http://me:private@127.0.0.1:9", "127.0.0.1:9 fails"),
        ("UPDRAFT_S3_ENDPOINT_URL", "127.0.0.1", "no address"),
    ],
)
def test_no_access_is_told_with_a_fix_and_without_secrets(
    bucket: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, says: str
) -> None:
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    with pytest.raises(UpdraftError, match=says) as failure:
        open_store(f"s3://{bucket}/x")
    assert failure.value.fix
    assert "private" not in str(failure.value) and SECRET_KEY not in str(failure.value)


def test_a_local_store_does_without_boto3(tmp_path: Path) -> None:
    program = (
        "import sys; from tasks.core.store import open_files, open_store;"
        "open_files(open_store(sys.argv[1]).uri); print('boto3' in sys.modules or 'botocore' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
