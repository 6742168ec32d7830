"""A person's yes or no to a candidate that passed its gates: rows of the audit log."""

from tasks.core.registry import Registry

_ACTION = "approval"


def answer(registry: Registry, project: str, gate: str, *, yes: bool, who: str, run_id: str = "") -> None:
    """Writes down what ``who`` answered about the candidate of a decision.

    Args:
        gate: the decision's key: what is approved is one candidate with its measurements, nothing later.
    """
    registry.audit(project, _ACTION, who, {"gate": gate, "approved": yes}, run_id)


def approved(registry: Registry, project: str, gate: str) -> bool:
    """Whether the last answer about the decision's candidate was yes."""
    rows = [row for row in registry.audit_log(project) if row["action"] == _ACTION and row["details"]["gate"] == gate]
    return bool(rows) and bool(rows[-1]["details"]["approved"])
