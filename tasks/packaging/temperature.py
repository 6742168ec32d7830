"""The temperature that a package answers with."""

import numpy as np

from tasks.core.errors import Refused
from tasks.core.shards import read_split
from tasks.core.stages import Context
from tasks.runtime.predictor import Inputs, Predictor
from tasks.runtime.temperature import fit_temperature


def validated_temperature(ctx: Context, predictor: Predictor) -> float:
    """The temperature under which the package's answers suit the validation split best: no weight was fitted to it.

    Args:
        ctx: of the export stage.

    Raises:
        Refused: some of the answers are no numbers.
    """
    held = read_split(ctx.store.fetch(ctx.input("dataset").folder), "validation")
    found = predictor.untempered(Inputs(held.images, held.features))
    bad = int((~np.isfinite(found).all(axis=1)).sum())
    if bad:
        raise Refused(
            f"The package predicts no numbers for {bad} of {len(found)} validation rows: they have no temperature.",
            "Nothing was packaged. Look for values that are far from those of the training rows.",
        )
    return fit_temperature(held.labels, found)
