"""Training: networks, samples, losses, schedules, checkpoints."""
