"""Distributed training as one Airflow task."""

from collections.abc import Collection
from typing import Any

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.types import TaskInstanceKey

from plugins.operators.stage_operator import StageOperator
from tasks.core.errors import RankRaised
from tasks.core.settings import settings
from tasks.core.stages import load_manifest
from tasks.core.store import open_store


class TrainingLink(BaseOperatorLink):
    """A button on the task: the learning curves and the study of the project's last training."""

    name = "Learning curves"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The page that the tab Training shows too."""
        return f"/updraft/{ti_key.dag_id}/training"


class HorovodOperator(StageOperator):
    """Executes a stage that launches Horovod ranks.

    It takes one slot per rank from its pool, so that ranks of several runs never crowd one machine; a retry resumes
    from the last checkpoint; when Airflow ends the task, every rank ends with it. The model's figures are pushed as the
    XCom ``metrics``.

    A host or a rank that is lost, preempted, out of memory or stands still is worth the retry; an error that the
    training itself raised is not, and fails the task at once, as bad input does.
    """

    ui_color = "#fce8b2"
    operator_extra_links: Collection[BaseOperatorLink] = (TrainingLink(),)

    def execute(self, context: Any) -> str:
        """Runs the stage, or finds that its artifact stands."""
        try:
            path = super().execute(context)
        except RankRaised as error:
            raise AirflowFailException(str(error)) from None
        metrics = load_manifest(open_store(settings().store_uri), path).metrics
        figures = {name: value for name, value in metrics.items() if isinstance(value, int | float | str)}
        context["ti"].xcom_push(key="metrics", value=figures)
        return path

    def on_kill(self) -> None:
        """Lets the launcher end the ranks; it looks many times a second. A signal handler can do no more than this."""
        self.killed = True
