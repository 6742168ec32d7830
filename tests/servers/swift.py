"""A whole OpenStack Swift in one process, speaking S3: ``python -m tests.servers.swift FOLDER`` prints its port.

Swift's four servers (account, container, object, proxy) run as green threads over the data in FOLDER, with the account
of `ACCESS_KEY` alone. It is a real S3 server to its clients: signatures are checked, bodies are streamed to disk,
listings are paginated.
"""

import ctypes
import logging
import os
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

ACCESS_KEY, SECRET_KEY = "test:tester", "testing"
PAGE = 100
"""Objects in one answer to a listing: a tenth of Amazon's, so that few objects take several pages."""

_STORAGE = """
[DEFAULT]
devices = {folder}
mount_check = false
disable_fallocate = true
swift_dir = {folder}
[pipeline:main]
pipeline = one_at_a_time server
[app:server]
use = egg:swift#{kind}
[filter:one_at_a_time]
paste.filter_factory = tests.servers.swift:one_at_a_time
"""

_PROXY = """
[DEFAULT]
swift_dir = {folder}
[pipeline:main]
pipeline = catch_errors noted faulty memory s3api tempauth bulk slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
node_timeout = 60
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:noted]
paste.filter_factory = tests.servers.swift:noted
file = {folder}/requests
[filter:faulty]
paste.filter_factory = tests.servers.swift:faulty
[filter:memory]
paste.filter_factory = tests.servers.swift:memory
[filter:s3api]
use = egg:swift#s3api
max_bucket_listing = {page}
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret} .admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
"""


class Memory(dict[str, Any]):
    """What Swift asks of memcached, within this process."""

    def set(self, key: str, value: Any, **_: Any) -> None:
        self[key] = value

    def delete(self, key: str, **_: Any) -> None:
        self.pop(key, None)

    def get(self, key: str, *_: Any, **__: Any) -> Any:
        return super().get(key)

    def incr(self, key: str, delta: int = 1, **_: Any) -> int:
        self[key] = super().get(key, 0) + delta
        return self[key]


Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def memory(_: Mapping[str, str], **__: str) -> Callable[[Application], Application]:
    """A filter that stands in for Swift's memcached."""
    shared = Memory()

    def wrap(app: Application) -> Application:
        return lambda environ, start: app({**environ, "swift.cache": shared}, start)

    return wrap


def noted(_: Mapping[str, str], file: str, **__: str) -> Callable[[Application], Application]:
    """A filter that writes a line for every request: its method and path."""

    def wrap(app: Application) -> Application:
        def answer(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            with open(file, "a", encoding="utf-8") as lines:
                lines.write(f"{environ['REQUEST_METHOD']} {environ['RAW_PATH_INFO']}\n")
            return app(environ, start)

        return answer

    return wrap


def faulty(_: Mapping[str, str], **__: str) -> Callable[[Application], Application]:
    """A filter that answers the first request for an object named ``...fault-<status>-<code>`` with that error."""
    seen: set[str] = set()

    def wrap(app: Application) -> Application:
        def answer(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            path = environ["PATH_INFO"]
            _, asked, fault = path.rpartition("fault-")
            if not asked or path in seen or environ["REQUEST_METHOD"] == "HEAD":
                return app(environ, start)
            seen.add(path)
            environ["wsgi.input"].read()
            status, _, code = fault.partition("-")
            start(f"{status} {code}", [("Content-Type", "application/xml")])
            return [f"<Error><Code>{code}</Code><Message>As asked.</Message></Error>".encode()]

        return answer

    return wrap


def one_at_a_time(_: Mapping[str, str], **__: str) -> Callable[[Application], Application]:
    """A filter that lets conditional PUTs of one object pass one after the other.

    S3 promises that one of several concurrent ones wins; Swift by itself checks first and writes later.
    """
    from eventlet.semaphore import Semaphore

    turns: dict[str, Semaphore] = defaultdict(Semaphore)

    def wrap(app: Application) -> Application:
        def answer(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            if "HTTP_IF_NONE_MATCH" not in environ or environ["REQUEST_METHOD"] != "PUT":
                return app(environ, start)
            with turns[environ["PATH_INFO"]]:
                return app(environ, start)

        return answer

    return wrap


def serve(folder: Path) -> None:
    """Serves S3 until the process is ended, or the one that started it has ended."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    os.fsync = os.fdatasync = lambda fd: None  # the data of a test need not survive the machine
    from swift.common import utils

    (folder / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = updraft\n")
    utils.SWIFT_CONF_FILE = str(folder / "swift.conf")  # hard-coded, and read when other parts are imported
    utils.eventlet_monkey_patch()
    import eventlet
    import eventlet.wsgi
    from swift.common.http_protocol import SwiftHttpProtocol
    from swift.common.ring import RingBuilder
    from swift.common.wsgi import loadapp

    def start(name: str, text: str, socket: Any) -> Any:
        (folder / f"{name}.conf").write_text(text.format(folder=folder, kind=name, secret=SECRET_KEY, page=PAGE))
        app = loadapp(str(folder / f"{name}.conf"), global_conf={"log_name": name})
        quiet = logging.getLogger("swift")
        quiet.setLevel(logging.CRITICAL)
        as_swift_does = {"protocol": SwiftHttpProtocol, "capitalize_response_headers": False}
        return eventlet.spawn(eventlet.wsgi.server, socket, app, quiet, **as_swift_does)

    (folder / "disk").mkdir(exist_ok=True)
    for kind in ("account", "container", "object"):
        socket = eventlet.listen(("127.0.0.1", 0))
        at = {"ip": "127.0.0.1", "port": socket.getsockname()[1], "device": "disk"}
        builder = RingBuilder(part_power=2, replicas=1, min_part_hours=0)
        builder.add_dev({"region": 1, "zone": 1, "weight": 1, **at})
        builder.rebalance()
        builder.get_ring().save(str(folder / f"{kind}.ring.gz"))
        start(kind, _STORAGE, socket)
    socket = eventlet.listen(("127.0.0.1", 0))
    serving = start("proxy", _PROXY, socket)
    print(socket.getsockname()[1], flush=True)
    serving.wait()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
