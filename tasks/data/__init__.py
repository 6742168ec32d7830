"""Raw data in: ingestion, validation, quarantine."""
