"""Training: Horovod ranks, checkpoints, tuning."""
