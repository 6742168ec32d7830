"""How this platform opens Feast: from Python, with our offline store and the online store of the settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from feast import FeatureStore, RepoConfig


def open_feature_store(project: str, folder: Path, online: Mapping[str, Any] | None = None) -> FeatureStore:
    """A Feast feature store, see `repo_config`; ``folder`` is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    return FeatureStore(config=repo_config(project, folder, online))


def repo_config(project: str, folder: Path, online: Mapping[str, Any] | None = None) -> RepoConfig:
    """Exact point-in-time joins by DuckDB over Parquet offline, any of Feast's stores online.

    The registry is a file that follows from the project's spec: whoever needs one applies the definitions anew.

    Args:
        folder: holds the registry.
        online: Feast's ``online_store`` section; without it, SQLite in ``folder``.
    """
    return RepoConfig(
        project=project,
        provider="local",
        registry=str(folder / "registry.db"),
        offline_store={"type": "tasks.features.offline_store.KnownTimeOfflineStore"},
        online_store=dict(online or {"type": "sqlite", "path": str(folder / "online.db")}),
        entity_key_serialization_version=3,
    )
