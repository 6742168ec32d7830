"""Features: computed, kept in Feast, joined in time, transformed by one TFT graph."""
