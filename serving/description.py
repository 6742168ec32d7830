"""What a project's live model is, as JSON."""

from typing import Any

from serving.models import Live
from tasks.runtime.typical import typical_row


def describe(live: Live) -> dict[str, Any]:
    """Version, package, classes or columns with a typical row, measurements, and the limits that requests keep to."""
    signature = live.signature
    return {
        "project": signature.project,
        "task": signature.task,
        "version": live.version,
        "package": live.package or signature.build,
        "since": live.since.isoformat(timespec="seconds"),
        "form": signature.form,
        "runtime": signature.runtime,
        "temperature": signature.temperature,
        "classes": signature.classes,
        "image": signature.image and signature.image.model_dump(),
        "columns": [column.model_dump() for column in signature.columns],
        "example": typical_row(signature, live.baseline) if signature.image is None else None,
        "entities": signature.online.model_dump() if signature.view and not signature.image else None,
        "metrics": live.metrics,
        "limits": {
            "top_k": signature.top_k,
            "max_body_kib": signature.max_body_kib,
            "max_pixels": signature.max_pixels if signature.image else None,
            "timeout_seconds": signature.timeout_seconds,
        },
    }
