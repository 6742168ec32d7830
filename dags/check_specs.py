"""Holds no DAG: reports each spec in ``projects/`` that cannot be read, as an import error on Airflow's first page."""

from tasks.core.config import load_project, project_names
from tasks.core.errors import BadInput


def _faults() -> list[str]:
    faults = []
    for name in project_names():
        try:
            load_project(name)
        except BadInput as error:
            faults.append(str(error))
    return faults


if faults := _faults():
    raise BadInput("\n".join(faults))
