"""The search for parameters: an Optuna study that several workers share."""
