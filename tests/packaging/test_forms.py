"""Every family in every form of fewer bits, in every runtime that can take it."""

import numpy as np
import pytest

from tasks.core.artifacts import Manifest
from tasks.core.spec import IMAGE_FAMILIES, TABLE_FAMILIES
from tasks.runtime.predictor import Predictor
from tests.packaging.made import Trained, in_family, png, row

FORMS = ("float16", "int8_dynamic", "int8")
ENSEMBLE = "ensemble"
RUNTIMES = {"images": ("onnx", "litert"), "numbers": ("onnx", "litert"), "strings": ("saved_model",)}
FAMILIES = {
    "images": (*IMAGE_FAMILIES, ENSEMBLE),
    # Those alone that treat numbers in ways of their own.
    "numbers": ("wide_and_deep", "lstm", "transformer"),
    "strings": TABLE_FAMILIES,
}
CASES = [
    (kind, family, runtime) for kind, runtimes in RUNTIMES.items() for family in FAMILIES[kind] for runtime in runtimes
]

FARTHEST = {"float16": 0.05, "int8_dynamic": 0.15, "int8": 0.15}
"""Mean difference of a probability to the plain form's. Single rows may be farther: logits that are 3 apart amplify
what is left out, and in LiteRT a value at the edge of a bucket falls into another one."""
FAR = "efficientnet"
"""Its squeezes and swishes lose too much in 8 bits; the gates are there for such a form."""
AGREEING = {"float16": 0.9, "int8_dynamic": 0.75, "int8": 0.75}
"""Share of rows with the same likeliest class at least; of some, two are nearly as likely."""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "family", "runtime"), CASES)
def test_a_form_says_nearly_the_same_or_is_left_out_with_a_reason(
    request: pytest.FixtureRequest, kind: str, family: str, runtime: str
) -> None:
    trained = request.getfixturevalue(kind)
    made = in_family(trained, "mlp", members=2) if family == ENSEMBLE else in_family(trained, family)
    exported = made.export({"runtimes": [runtime], "forms": [{"kind": form} for form in FORMS]})
    computes = runtime == "onnx" or (runtime == "litert" and family not in ("lstm", "gru"))
    reasons = exported.metrics["left_out"]
    assert reasons.keys() == (set() if computes else {"int8"})
    assert all("take int8_dynamic" in reason for reason in reasons.values())

    plain = _answers(made, exported, "plain")
    assert min(np.bincount(plain.argmax(axis=1), minlength=3)) > 0, "all classes are told apart"
    for form in sorted(exported.metrics["forms"].keys() - {"plain"}):
        found = _answers(made, exported, form)
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-3)
        agreeing = (found.argmax(axis=1) == plain.argmax(axis=1)).mean()
        if family == FAR and form != "float16":
            assert agreeing >= 0.5, f"{form} is no better than chance, which is a third"
            continue
        assert np.abs(found - plain).mean() < FARTHEST[form], form
        assert agreeing >= AGREEING[form], form


def _answers(made: Trained, exported: Manifest, form: str) -> np.ndarray:
    predictor = Predictor.load(made.folder(exported, form))
    assert predictor.signature.form == form
    if made.spec.image:
        return predictor.predict_bytes([png(seed) for seed in range(900, 960)])
    return predictor.predict_rows([row(seed) for seed in range(900, 960)])
