"""Distributed training as one Airflow task."""

from plugins.operators.stage_operator import StageOperator


class HorovodOperator(StageOperator):
    """Executes a stage that launches Horovod ranks.

    It takes one slot per rank from its pool, so that ranks of several runs never crowd one machine; a retry resumes
    from the last checkpoint; when Airflow ends the task, every rank ends with it.
    """

    ui_color = "#fce8b2"

    def on_kill(self) -> None:
        """Lets the launcher end the ranks; it looks many times a second. A signal handler can do no more than this."""
        self.killed = True
