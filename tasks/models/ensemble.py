"""Several models as one: the mean of their predictions (Lakshminarayanan et al., "Deep ensembles", 2017)."""

import math
from collections.abc import Sequence

import keras
from keras import layers, ops

from tasks.core.spec import Project


def join(spec: Project, members: Sequence[keras.Model]) -> keras.Model:
    """One model of the same inputs and outputs.

    Of classes, its logits are the logarithm of the members' mean probabilities; of a regression, its number is their
    mean. It saves, loads and exports like any other model.

    Args:
        members: as the families build them, trained.
    """
    given = [keras.Input(each.shape[1:], dtype=each.dtype, name=each.name) for each in members[0].inputs]
    outputs = []
    for number, member in enumerate(members):
        member.name = f"member_{number}"  # layers of one model have names of their own
        outputs.append(member(given))
    joined = layers.Average(name="mean")(outputs) if spec.is_regression else _log_mean_softmax(outputs)
    return keras.Model(given, joined, name="ensemble")


def _log_mean_softmax(logits: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
    """In logarithms throughout: a small probability does not become zero."""
    each = ops.stack([ops.log_softmax(member) for member in logits])
    return ops.logsumexp(each, axis=0) - math.log(len(logits))
