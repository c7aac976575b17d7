"""ArrayRecord: files of records with random access, which JAX's Grain reads; here of latents."""
