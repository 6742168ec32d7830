"""Knowledge distillation: a smaller model learns the candidate's answers beside the labels.

Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (2015). Of a regression, where answers have no
temperature, the candidate's numbers are labels like the others.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from tasks.core.layout import Layout
from tasks.core.spec import Distilled, Project
from tasks.models import build_model
from tasks.training.losses import focal, make_loss
from tasks.training.targets import Unit

Tensor = Any
Answers = Callable[[Mapping[str, Tensor]], Tensor]
"""Inputs by name to the teacher's logits, (N, classes), or numbers as the student is trained on them, (N, 1)."""


class Student(keras.Model):
    """A family's model; only its loss is another one.

    Args:
        model: untrained.
        answers: of the teacher, which sees what the student sees, augmentation included.
    """

    def __init__(self, model: keras.Model, answers: Answers, spec: Project, form: Distilled) -> None:
        super().__init__(model.inputs, model.output, name=model.name)
        self._answers, self._form, self._is_regression = answers, form, spec.is_regression
        self._label_loss = make_loss(spec, reduction=None)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """See Keras; of rows that are only measured, it is the loss on the labels."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not training:
            return loss
        each = self._unlike(self._answers(x), y_pred)
        soft = ops.mean(each if sample_weight is None else each * sample_weight)
        return (1 - self._form.weight) * loss + self._form.weight * soft

    def _unlike(self, answers: Tensor, outputs: Tensor) -> Tensor:
        """How far each row's output is from the teacher's, float32 (N,)."""
        if self._is_regression:
            return self._label_loss(answers, outputs)
        hot = self._form.temperature
        # The square keeps the gradients as large as those of the labels.
        return focal(ops.softmax(answers / hot), ops.cast(outputs, "float32") / hot, 0.0) * hot**2


def student_of(teacher: keras.Model, form: Distilled, unit: Unit | None) -> Callable[[Project, Layout], keras.Model]:
    """How `tasks.training.loop.Job` builds the student.

    Args:
        teacher: trained; its weights stay as they are.
        unit: of a regression's labels: the teacher gives numbers in theirs, the student is trained on scaled ones.
    """

    def answers(inputs: Mapping[str, Tensor]) -> Tensor:
        found = ops.cast(teacher(inputs, training=False), "float32")
        return ops.stop_gradient(found if unit is None else (found - unit.mean) / unit.deviation)

    return lambda spec, layout: Student(build_model(spec, layout), answers, spec, form)
