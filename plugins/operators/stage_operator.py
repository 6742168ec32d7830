"""One stage as one Airflow task."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import BaseHook, BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from tasks.core.artifacts import Manifest
from tasks.core.errors import BadInput, NotPromoted, UpdraftError
from tasks.core.pipeline import find_step, run_step
from tasks.core.settings import settings
from tasks.core.stages import load_manifest
from tasks.core.store import open_store


def use_s3_connection(name: str) -> None:
    """Makes the credentials of an Airflow Connection those of this task's process, for every ``s3://`` it opens.

    Login and password are the key; ``aws_session_token``, ``region_name`` and ``endpoint_url`` may stand in its extra.
    """
    connection = BaseHook.get_connection(name)
    extra = connection.extra_dejson
    found = {
        "AWS_ACCESS_KEY_ID": connection.login,
        "AWS_SECRET_ACCESS_KEY": connection.password,
        "AWS_SESSION_TOKEN": extra.get("aws_session_token"),
        "AWS_DEFAULT_REGION": extra.get("region_name"),
        "UPDRAFT_S3_ENDPOINT_URL": extra.get("endpoint_url"),
    }
    os.environ.update({name: value for name, value in found.items() if value})
    settings.cache_clear()


def skip_unless_passed(gate: str) -> Manifest:
    """The gate's manifest, at the path given.

    Raises:
        AirflowSkipException: the candidate did not pass; names each gate that it failed.
    """
    manifest = load_manifest(open_store(settings().store_uri), gate)
    if not manifest.metrics["passed"]:
        raise AirflowSkipException(f"Not promoted: {'; '.join(manifest.metrics['why'])}. The champion stays.")
    return manifest


class StageOperator(BaseOperator):
    """Executes one stage of a project; returns (as XCom) its manifest's path in the store, never data.

    Args:
        step: name of a step of `tasks.core.pipeline`.
        project: the project's name; its spec is read when the task runs.
        inputs: step name to the manifest path, or paths, of earlier tasks.
        partition: the date or worker; templated.
        param_fields: DAG param to the spec field that it overrides for this run.
    """

    template_fields: Sequence[str] = ("inputs", "partition")
    ui_color = "#e8f0fe"
    killed = False

    def __init__(
        self,
        *,
        step: str,
        project: str,
        inputs: Mapping[str, Any],
        partition: str | None = None,
        param_fields: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.step = step
        self.project = project
        self.inputs = inputs
        self.partition = partition
        self.param_fields = param_fields or {}

    def execute(self, context: Any) -> str:
        """Runs the stage, or finds that its artifact stands.

        A fault of the input fails the task at once, since a retry cannot mend it; any other is retried.
        """
        if settings().s3_connection:
            use_s3_connection(settings().s3_connection)
        inputs = {name: [paths] if isinstance(paths, str) else list(paths) for name, paths in self.inputs.items()}
        if find_step(self.step).after_gate:
            skip_unless_passed(inputs["gate"][0])
        params = context["params"]
        overrides = {field: params[name] for name, field in self.param_fields.items() if params.get(name) is not None}
        overrides |= params.get("set") or {}
        try:
            manifest = run_step(
                self.step,
                self.project,
                inputs,
                partition=self.partition,
                overrides=overrides,
                run_id=context["run_id"],
                force=bool(params.get("force")),
                stopped=lambda: self.killed,
            )
        except NotPromoted as error:
            raise AirflowSkipException(f"Not promoted: {error}") from None
        except BadInput as error:
            raise AirflowFailException(str(error)) from None
        except UpdraftError as error:
            self.log.error("%s", error)
            raise
        for reason, rows in manifest.reasons.items():
            self.log.info("quarantined: %d rows, %s", rows, reason)
        return manifest.path
