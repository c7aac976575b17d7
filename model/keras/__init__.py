"""Everything that knows Keras: loading, auditing, tracing and saving models."""
