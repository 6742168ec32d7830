"""The environment of the platform's processes: Airflow's whole configuration, generated from our settings.

No ``airflow.cfg`` is written by hand: what Updraft wants of Airflow stands in ``airflow_env``, with the reason.
"""

import json
import os
import secrets
from pathlib import Path

from tasks.core.settings import ROOT, Settings

ADMIN = "admin"
"""The one user of a platform on one machine. A shared Airflow has its own users and auth manager."""

QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TQDM_DISABLE": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "BENTOML_DO_NOT_TRACK": "True",
    "FEAST_USAGE": "False",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
}
"""No progress bars in task logs, no banners, and nothing sent to anybody about who uses what."""

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    # Arrow's allocator starts a thread when it is imported, and a process that forks should have only one.
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
"""Tasks, trials and ranks run beside each other, one core each: threads of their own would only fight."""


def airflow_home(settings: Settings) -> Path:
    """The folder of Airflow's database, logs and secrets."""
    return settings.home / "airflow"


def airflow_url(settings: Settings) -> str:
    """The address of Airflow's UI and API, as this machine reaches it."""
    return f"http://{reachable(settings.host)}:{settings.airflow_port}"


def serving_url(settings: Settings) -> str:
    """The address of the prediction endpoint, as this machine reaches it."""
    return f"http://{reachable(settings.host)}:{settings.serving_port}"


def reachable(host: str) -> str:
    """An address to connect to, for an address to listen on."""
    return "127.0.0.1" if host in ("", "0.0.0.0", "::") else host


def admin_password(settings: Settings) -> str:
    """The generated password of the UI's one user; made at the first call, kept in a file only its owner reads."""
    path = _passwords_file(settings)
    if not path.exists():
        _write_private(path, json.dumps({ADMIN: secrets.token_urlsafe(12)}))
    return json.loads(path.read_text())[ADMIN]


def base_env(settings: Settings) -> dict[str, str]:
    """What every process of the platform gets: this process's environment, our settings, and peace."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    # Set on some build machines. Without bytecode each start compiles TensorFlow anew: 20 s instead of 5.
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)
    # The settings may come from elsewhere than this process's environment, and paths in them may be relative to it.
    own = {f"UPDRAFT_{name.upper()}": _plain(value) for name, value in settings}
    # The parts of the platform talk to each other on this machine, whatever proxy leads out of it.
    direct = ",".join(filter(None, [inherited.get("NO_PROXY"), "127.0.0.1", "localhost", settings.host]))
    paths = {"PYTHONPATH": str(ROOT), "NO_PROXY": direct, "no_proxy": direct}
    return inherited | QUIET | ONE_THREAD | own | paths | {"PYTHONUNBUFFERED": "1"}


def airflow_env(settings: Settings) -> dict[str, str]:
    """The environment of every Airflow process. It holds secrets: never print or log it."""
    home = airflow_home(settings)
    return base_env(settings) | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "plugins.executors.warm_executor.WarmLocalExecutor",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{airflow_url(settings)}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(_passwords_file(settings)),
        # The machine's name as it stands: the default asks a name server, which may be slow or not there.
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        "AIRFLOW__API__HOST": settings.host,
        "AIRFLOW__API__PORT": str(settings.airflow_port),
        "AIRFLOW__API__BASE_URL": airflow_url(settings),
        "AIRFLOW__API__SECRET_KEY": _secret(home / "secret_key"),
        "AIRFLOW__API_AUTH__JWT_SECRET": _secret(home / "jwt_secret"),
        # How long the scheduler rests when it finds nothing to do: the time between two tasks of a chain.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        # A worker that has not seen its task's process end looks again after this time, and is busy until then.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        # More than there are cores, for a worker is busy a moment longer than its task. How many tasks really run at
        # once is for the DAGs and their pools to say.
        "AIRFLOW__CORE__PARALLELISM": str(max(8, 4 * (os.cpu_count() or 1))),
        **_database(settings),
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        # Feast makes a folder in /tmp at each import if it is given none, and leaves it there.
        "PROMETHEUS_MULTIPROCESS_DIR": str(home / "metrics"),
    }


def _database(settings: Settings) -> dict[str, str]:
    url = settings.airflow_database_url.get_secret_value()
    if url:
        return {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url.replace("postgresql://", "postgresql+psycopg2://", 1)}
    return {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{airflow_home(settings) / 'airflow.db'}?timeout=30",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": "tasks.platform.sqlite.CONNECT_ARGS",
    }


def _passwords_file(settings: Settings) -> Path:
    return airflow_home(settings) / "passwords.json"


def _plain(value: object) -> str:
    """A setting as an environment variable spells it."""
    get_secret = getattr(value, "get_secret_value", None)
    return get_secret() if get_secret else str(value)


def _secret(path: Path) -> str:
    """A random secret, made once: tokens stay valid when the platform is started again."""
    if not path.exists():
        _write_private(path, secrets.token_urlsafe(32))
    return path.read_text()


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    aside = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    aside.replace(path)
