"""What an expert serves a model with when nothing else is needed: FastAPI, ONNX Runtime, nothing per request but that.

Decoding and features are the platform's, for the model is the same. The model runs on the event loop, one thread and
one process per core.
"""

import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
import orjson
from fastapi import FastAPI, HTTPException, Request, Response

from tasks.runtime.extractors import extract
from tasks.runtime.images import BadImage, decode
from tasks.runtime.predictor import MODEL, SIGNATURE, Signature

FOLDER = "BENCHMARK_PACKAGE"
"""The variable with the package's folder."""

app = FastAPI()
_folder = Path(os.environ[FOLDER])
_signature = Signature.model_validate_json((_folder / SIGNATURE).read_bytes())
_options = ort.SessionOptions()
_options.intra_op_num_threads = _options.inter_op_num_threads = 1
_session = ort.InferenceSession((_folder / MODEL).read_bytes(), _options, providers=["CPUExecutionProvider"])


@app.post("/predict")
async def predict(request: Request) -> Response:
    """The likeliest classes of the image in the body."""
    assert _signature.image is not None
    try:
        pixels = decode(await request.body(), _signature.image, _signature.max_pixels)
    except BadImage as error:
        raise HTTPException(422, error.message) from None
    features = {group: values[None] for group, values in extract(pixels, _signature.features, {}).items()}
    (found,) = _session.run(None, {"image": pixels[None], **features})
    order = np.argsort(-found[0])[: _signature.top_k]
    top = [{"label": _signature.classes[n], "probability": float(found[0][n])} for n in order]
    return Response(orjson.dumps({"predictions": [{**top[0], "top": top}]}), media_type="application/json")
