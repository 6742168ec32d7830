"""How this platform opens Feast: configured from Python, with everything it writes in one folder."""

from pathlib import Path

from feast import FeatureStore, RepoConfig


def open_feature_store(project: str, folder: Path) -> FeatureStore:
    """A Feast feature store: DuckDB joins over Parquet offline, SQLite online.

    Args:
        folder: holds the registry and the online store; made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = RepoConfig(
        project=project,
        provider="local",
        registry=str(folder / "registry.db"),
        offline_store={"type": "duckdb"},
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        entity_key_serialization_version=3,
    )
    return FeatureStore(config=config)
