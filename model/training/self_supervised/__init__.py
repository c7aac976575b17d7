"""Training of a denoiser from noisy images alone."""
