"""One prefix of an S3 bucket: the few requests that stores and sources need, and S3's refusals in words.

The only module that knows boto3. Credentials, profile and region come from boto3's usual chain.
"""

import os
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from s3transfer.manager import TransferConfig, TransferManager

from tasks.core.errors import BadInput, UpdraftError
from tasks.core.files import Changed, FileInfo
from tasks.core.s3_errors import CUT_OFF, code_of, shown, told

PARALLEL = 16
"""Requests under way at once."""

_PART = 8 * 2**20
"""Bytes of a large object that travel in one request."""
_TRANSFER = TransferConfig(max_request_concurrency=PARALLEL, multipart_threshold=_PART, multipart_chunksize=_PART)
_READS = 3
"""Attempts to read an answer to its end; boto3 itself asks again only before it begins."""


class Bucket:
    """The objects under ``s3://bucket/prefix``; paths are relative to it.

    Every method raises FileNotFoundError for an object that is not there, BadInput where S3 does not know the bucket
    or does not let us in, and UpdraftError where it fails or does not answer. No message has a secret in it.
    """

    def __init__(self, uri: str, endpoint: str) -> None:
        self.uri = uri.rstrip("/")
        self.name, _, prefix = uri.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix.strip('/')}/".lstrip("/")
        self._endpoint = endpoint
        self._connected: tuple[int, Any] | None = None

    def folders(self, folder: str = "") -> list[str]:
        """The next level of folders under ``folder``, sorted (S3 sorts them with the slash that follows)."""
        pages = self._pages(folder, "/")
        found = (each["Prefix"] for page in pages for each in page.get("CommonPrefixes", ()))
        return sorted(prefix.removeprefix(self._prefix).rstrip("/") for prefix in found)

    def list(self, folder: str = "") -> Iterator[FileInfo]:
        """The objects under ``folder``, sorted by path; a page of 1,000 is read when it is needed."""
        for page in self._pages(folder, ""):
            for found in page.get("Contents", ()):
                path = found["Key"].removeprefix(self._prefix)
                if not path.endswith("/"):  # an empty object that a console shows as a folder
                    yield FileInfo(path, found["Size"], found["ETag"].strip('"'), found["LastModified"].timestamp())

    def check(self) -> None:
        """Asks for the first object, to be told early what is wrong with the bucket or the credentials."""
        with told(self.uri, self._endpoint):
            self._client.list_objects_v2(Bucket=self.name, Prefix=self._prefix, MaxKeys=1)

    def head(self, path: str) -> tuple[FileInfo, Mapping[str, str]]:
        """The object as a listing shows it, and its metadata."""
        with told(self.uri, self._endpoint, path):
            found = self._client.head_object(**self._at(path))
        return self._info(path, found), found["Metadata"]

    def read(self, path: str, start: int = 0, length: int | None = None, stamp: str = "") -> bytes:
        """The object's bytes, or some of them; of the version ``stamp`` alone, if one is given.

        Raises:
            Changed: the object is of another version.
        """
        if length == 0:  # HTTP has no empty range
            self.head(path)
            return b""
        some = {} if length is None else {"Range": f"bytes={start}-{start + length - 1}"}
        version = {"IfMatch": f'"{stamp}"'} if stamp else {}
        left = _READS
        while True:
            left -= 1
            try:
                with told(self.uri, self._endpoint, path):
                    return self._client.get_object(**self._at(path), **some, **version)["Body"].read()
            except UpdraftError as error:
                if code_of(error) == "InvalidRange":
                    return b""  # it starts where the object ends, or beyond
                if code_of(error) == "PreconditionFailed":
                    raise Changed(f"{self.uri}/{path} was replaced while it was read.", "Try again.") from None
                if not left or not isinstance(error.__cause__, CUT_OFF):
                    raise

    def stream(self, path: str) -> tuple[FileInfo, Iterator[bytes]]:
        """The version of the object that the pieces which follow belong to."""
        with told(self.uri, self._endpoint, path):
            found = self._client.get_object(**self._at(path))
        return self._info(path, found), self._pieces(path, found["Body"])

    def put(self, path: str, data: bytes) -> None:
        """Creates or replaces the object."""
        with told(self.uri, self._endpoint, path):
            self._client.put_object(**self._at(path), Body=data)

    def put_new(self, path: str, data: bytes, metadata: Mapping[str, str] | None = None) -> bool:
        """Creates the object unless it is there; False if it was. S3 decides, whoever else tries."""
        for attempt in range(10):
            try:
                with told(self.uri, self._endpoint, path):
                    self._client.put_object(**self._at(path), Body=data, Metadata=metadata or {}, IfNoneMatch="*")
                return True
            except UpdraftError as error:
                if code_of(error) == "PreconditionFailed":
                    return False
                if code_of(error) != "ConditionalRequestConflict":
                    raise
                time.sleep(random.uniform(0, 0.1 * 2**attempt))  # two at once: S3 asks both to try again
        raise UpdraftError(f"{self.uri}/{path}: other writers were always in the way.", "Try again.")

    def delete(self, paths: Iterable[str]) -> None:
        """Deletes the objects that are there."""
        left = iter(paths)
        while batch := list(islice(left, 1000)):
            keys = [{"Key": self._prefix + path} for path in batch]
            with told(self.uri, self._endpoint):
                done = self._client.delete_objects(Bucket=self.name, Delete={"Objects": keys, "Quiet": True})
            if refused := done.get("Errors"):
                message = f"{self.uri}: {len(refused)} objects were not deleted: {refused[0].get('Message')}"
                raise UpdraftError(message, "Give the credentials the right to delete objects.")

    def upload(self, files: Mapping[str, Path]) -> None:
        """Uploads local files, by the object's path; large ones in parts."""
        with TransferManager(self._client, _TRANSFER) as transfer:
            jobs = {path: transfer.upload(str(file), self.name, self._prefix + path) for path, file in files.items()}
            for path, job in jobs.items():
                with told(self.uri, self._endpoint, path):
                    job.result()

    def download(self, files: Mapping[Path, FileInfo]) -> None:
        """Downloads those versions of objects, by the local file to make of each; large ones in parts.

        Raises:
            Changed: one of them was replaced or removed.
        """
        parts = [(file, info, start) for file, info in files.items() for start in range(0, info.size or 1, _PART)]
        with ThreadPoolExecutor(PARALLEL) as pool:
            for _ in pool.map(lambda part: self._download(*part), parts):
                pass

    def _download(self, file: Path, info: FileInfo, start: int) -> None:
        length = min(_PART, info.size - start) if info.size > _PART else None
        try:
            data = self.read(info.path, start, length, info.stamp)
        except FileNotFoundError:
            raise Changed(f"{self.uri}/{info.path} was removed while it was read.", "Try again.") from None
        with open(os.open(file, os.O_WRONLY | os.O_CREAT), "wb") as out:
            out.seek(start)
            out.write(data)

    @property
    def _client(self) -> Any:
        """One per process: a forked child must not answer on its parent's connections."""
        if self._connected is None or self._connected[0] != os.getpid():
            self._connected = (os.getpid(), self._connect())
        return self._connected[1]

    def _connect(self) -> Any:
        config = Config(
            retries={"mode": "standard", "total_max_attempts": 5},
            connect_timeout=10,
            max_pool_connections=PARALLEL,
        )
        if self._endpoint:  # servers other than Amazon's need not know buckets as host names, nor newer checksums
            needed = "when_required"
            path = Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation=needed,
                response_checksum_validation=needed,
            )
            config = config.merge(path)
        try:
            with told(self.uri, self._endpoint):
                return boto3.session.Session().client("s3", endpoint_url=self._endpoint or None, config=config)
        except ValueError:
            message = f"UPDRAFT_S3_ENDPOINT_URL={shown(self._endpoint)} is no address."
            raise BadInput(message, "Write it as http://host:port or https://host.") from None

    def _at(self, path: str) -> dict[str, str]:
        return {"Bucket": self.name, "Key": self._prefix + path}

    def _pages(self, folder: str, delimiter: str) -> Iterator[Mapping[str, Any]]:
        prefix = self._prefix + f"{folder.strip('/')}/".lstrip("/")
        with told(self.uri, self._endpoint):
            pages = self._client.get_paginator("list_objects_v2")
            yield from pages.paginate(Bucket=self.name, Prefix=prefix, Delimiter=delimiter)

    def _info(self, path: str, found: Mapping[str, Any]) -> FileInfo:
        return FileInfo(path, found["ContentLength"], found["ETag"].strip('"'), found["LastModified"].timestamp())

    def _pieces(self, path: str, body: Any) -> Iterator[bytes]:
        with told(self.uri, self._endpoint, path):
            yield from body.iter_chunks(2**20)
