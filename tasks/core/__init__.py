"""What every plane shares: the spec, the stages' protocol, artifacts, store, registry, settings and errors."""
