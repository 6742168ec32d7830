"""A person's yes or no to a candidate, in Airflow's UI."""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator

from plugins.operators.stage_operator import skip_unless_passed
from tasks.core import approvals
from tasks.core.artifacts import Manifest
from tasks.core.notify import notify
from tasks.core.registry import Registry
from tasks.core.settings import settings

PATIENCE = timedelta(days=7)
"""After which no answer counts as a no: the DAG runs one training at a time."""

NOBODY = "nobody within a week"


class CandidateApproval(ApprovalOperator):
    """Asks whether a candidate that passed its gates may become champion; a no ends the run as not promoted.

    A refused candidate is not asked about, nor one that somebody has approved already. Who answered stands in the audit
    log.

    Args:
        gate: path of the gate's manifest; templated.
    """

    template_fields = (*ApprovalOperator.template_fields, "gate")

    def __init__(self, *, project: str, gate: str, **kwargs: Any) -> None:
        super().__init__(
            subject=f"{project}: may this candidate become champion?",
            body="",
            defaults=ApprovalOperator.REJECT,
            response_timeout=PATIENCE,
            **kwargs,
        )
        self.project = project
        self.gate = gate

    def execute(self, context: Any) -> Any:
        """Asks, and waits without a worker.

        Raises:
            AirflowSkipException: the candidate did not pass its gates.
        """
        gate = skip_unless_passed(self.gate)
        registry = Registry(settings().registry_url)
        try:
            if approvals.approved(registry, self.project, gate.key):
                self.log.info("This candidate has been approved already.")
                return None
        finally:
            registry.close()
        self.body = _question(gate, context["dag"].dag_id)
        notify(f"{self.project}: a candidate waits for approval", self.body)
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Writes the answer down; a no skips what comes after."""
        gate = skip_unless_passed(self.gate)
        who = event.get("responded_by_user") or {}
        registry = Registry(settings().registry_url)
        try:
            yes = event.get("chosen_options") == [self.APPROVE]
            name = who.get("name") or who.get("id") or NOBODY
            approvals.answer(registry, self.project, gate.key, yes=yes, who=name, run_id=context["run_id"])
        finally:
            registry.close()
        return super().execute_complete(context, event)


def _question(gate: Manifest, dag_id: str) -> str:
    """What the person decides on, as Markdown."""
    held = "\n".join(f"- {each['gate']}: {each['detail']}" for each in gate.metrics["gates"])
    card = f"[Model](/dags/{dag_id}/plugin/updraft-model)"
    return f"It passed its gates on the held-out rows:\n\n{held}\n\nThe model card: tab {card} of the DAG {dag_id}."
