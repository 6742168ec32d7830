"""Airflow's LocalExecutor, warm: the heavy libraries are imported once, in the parent, and every task inherits them.

LocalExecutor forks its workers from the scheduler, and a worker forks each task without exec. So what the scheduler has
imported when the workers start costs a task nothing, neither seconds nor memory (pages are shared until written to).
A task that imports its own TensorFlow, Feast and Great Expectations spends about 15 s on that.
"""

import gc
import importlib
import logging
import time
from collections.abc import Iterable

from airflow.executors.local_executor import LocalExecutor

from tasks.core.settings import settings

WARM_MODULES = (
    "numpy",
    "pandas",
    "pyarrow.parquet",
    "PIL.Image",
    "cv2",
    "duckdb",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "sklearn.linear_model",
    "tensorflow",
    "keras",
    "tensorflow_transform.beam",
    "horovod.tensorflow",
    "great_expectations",
    "feast",
    # Feast imports these when it is first asked for data.
    "feast.infra.compute_engines.local.compute",
    "feast.infra.offline_stores.duckdb",
    "feast.infra.online_stores.sqlite",
    "ibis.backends.duckdb",
    "optuna",
    "optuna.storages",
    "jinja2",
    "tf2onnx",
    # What Airflow itself would import for each task, and for each worker's first one.
    "airflow.dag_processing.bundles.local",
    "airflow.dag_processing.dagbag",
    "airflow.providers.standard.decorators.python",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    # The machinery that every task needs to read its DAG and to find its stage.
    "plugins.chains",
)
"""Imported in this order. Importing one of them starts no thread, opens no connection and runs no TensorFlow op: a
forked child has only the thread that forked it, and a lock that another one held stays locked for ever.

Libraries and machinery only. Stages are imported by each task, so that an edited one runs as its code version says."""


class WarmLocalExecutor(LocalExecutor):
    """LocalExecutor whose workers start with ``WARM_MODULES`` imported; ``UPDRAFT_WARM=0`` turns that off."""

    modules: Iterable[str] = WARM_MODULES

    def start(self) -> None:
        """Import the modules, then start the workers that inherit them."""
        if settings().warm:
            warm(self.modules)
        super().start()


def warm(modules: Iterable[str]) -> dict[str, str]:
    """Import ``modules`` into this process, for those it will fork.

    Returns:
        The modules that could not be imported, with the reason. A task that needs one fails with its own message.
    """
    log = logging.getLogger(__name__)
    started, missing = time.monotonic(), {}
    gc.disable()  # Imports only add objects: every collection on the way finds nothing, and takes longer each time.
    logging.disable(logging.INFO)  # Great Expectations alone logs some hundred lines when it is imported.
    try:
        for module in modules:
            try:
                importlib.import_module(module)
            except Exception as error:  # A broken library must not keep the scheduler from starting.
                missing[module] = repr(error)
                log.warning("warm executor: %s is not imported ahead: %r", module, error)
    finally:
        logging.disable(logging.NOTSET)
        # Else the first collection in each task walks all of this again, and copies every page it marks.
        gc.freeze()
        gc.enable()
    log.info("warm executor: libraries imported in %.1f s", time.monotonic() - started)
    return missing
