"""Looking at data: layout, columns, classes, images, and the project spec that follows from them (``updraft init``)."""

from tasks.data.infer.project import Draft, infer

__all__ = ["Draft", "infer"]
