"""What a package holds beside its graph: what it takes and gives, what it was trained on, networks of embeddings."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path

from feature_repo.names import view_name
from tasks.core.artifacts import digest_file
from tasks.core.settings import ROOT
from tasks.core.shards import Split
from tasks.core.spec import Column, Project, TableFeature
from tasks.core.stages import Context
from tasks.runtime.baseline import BASELINE, summarize, watched
from tasks.runtime.embedding import graphs, load_embedders
from tasks.runtime.extractors import names
from tasks.runtime.predictor import EMBEDDING, SIGNATURE, Signature

_LOCK = "requirements.lock"
_LIBRARIES = (
    *("ai-edge-litert", "keras", "numpy", "onnx", "onnxruntime", "pillow", "tensorflow", "tensorflow-transform"),
    "tf2onnx",
)


def signature_of(ctx: Context) -> Signature:
    """The signature of the plain form in ONNX; what other forms and runtimes differ in is theirs to say."""
    spec = ctx.spec
    lock = ROOT / _LOCK
    return Signature(
        project=spec.name,
        build=ctx.key[:12],
        task="regression" if spec.is_regression else "classification",
        classes=spec.classes,
        image=spec.image,
        columns=_columns(spec),
        features=spec.features,
        top_k=min(spec.serving.top_k, spec.outputs),
        max_body_kib=spec.serving.max_body_kib,
        max_pixels=spec.serving.max_pixels,
        timeout_seconds=spec.serving.timeout_seconds,
        log_share=spec.serving.log_share,
        log_days=spec.serving.log_days,
        view=view_name(spec),
        online=spec.online,
        lock=digest_file(lock) if lock.is_file() else "",
        libraries={name: version(name) for name in _LIBRARIES},
    )


def write_signature(signature: Signature, folder: Path) -> None:
    """Writes it where `tasks.runtime.predictor.Predictor.load` looks."""
    text = json.dumps(signature.model_dump(mode="json"), indent=2)
    (folder / SIGNATURE).write_text(text, encoding="utf-8")


def write_surroundings(ctx: Context, train: Split, folder: Path) -> None:
    """Writes the baseline of the training split, and the networks of embeddings.

    Args:
        train: all of its rows; images are not looked at.
    """
    for group, path in graphs(ctx).items():
        shutil.copy(path, folder / EMBEDDING.format(group=group))
    dimensions = names(ctx.spec.features, ctx.spec.image, load_embedders(ctx))
    baseline = summarize(watched(ctx.spec.features, train.features), dimensions)
    (folder / BASELINE).write_text(baseline.model_dump_json(), encoding="utf-8")


def _columns(spec: Project) -> tuple[Column, ...]:
    """The source's, of which nobody has to send those that no feature is made from."""
    used = {name for feature in spec.features if isinstance(feature, TableFeature) for name in feature.columns}
    return tuple(c if c.name in used else c.model_copy(update={"nullable": True}) for c in spec.source.columns)
