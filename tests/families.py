"""What tests of every model family share."""

SMALL = {
    "model.filters": [8, 16],
    "model.units": [32],
    "model.width": 8,
    "model.heads": 2,
    "model.patch": 3,
    "model.scale": 0.1,
    "model.dropout": 0.1,
}
"""Fields of a spec that make any family small."""
