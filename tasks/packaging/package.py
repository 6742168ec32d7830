"""The package stage: the form that the gate chose, as a Bento that serves it alone.

The artifact holds that form's files, which `tasks.runtime.predictor.Predictor.load` reads, and the Bento around them.
"""

import shutil

from tasks.core.errors import Refused
from tasks.core.stages import Context, Outcome
from tasks.packaging.bento import build_bento, requirements
from tasks.packaging.describe import write_signature
from tasks.runtime.predictor import SIGNATURE, Signature


def package(ctx: Context) -> Outcome:
    """Takes the chosen form and builds the Bento.

    Raises:
        Refused: the gate let no form pass.
    """
    chosen = ctx.input("gate").metrics.get("chosen", "plain")
    if chosen is None:
        raise Refused(f"{ctx.spec.name}: the candidate did not pass its gates.", "Nothing was packaged; train again.")
    shutil.copytree(ctx.file(ctx.input("export"), chosen), ctx.out, dirs_exist_ok=True)
    signature = Signature.model_validate_json((ctx.out / SIGNATURE).read_bytes())
    signature = signature.model_copy(update={"build": ctx.key[:12]})
    write_signature(signature, ctx.out)
    name = f"{ctx.spec.name}-{ctx.key[:12]}.bento"
    build_bento(ctx.out, ctx.spec.name, ctx.key[:12], requirements(signature), ctx.work, ctx.out / name)
    exported = ctx.input("export").metrics["forms"][chosen]
    metrics = {
        "form": chosen,
        "runtime": signature.runtime,
        "parity_rows": exported["parity_rows"],
        "parity_max_abs_diff": exported["parity_max_abs_diff"],
        "model_bytes": exported["bytes"],
        "bento": name,
        "bento_bytes": (ctx.out / name).stat().st_size,
    }
    return Outcome(metrics=metrics)
