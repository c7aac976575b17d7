"""Image files to pixels and back: headers, decoders, encoders, colour, geometry, quality measures and noise."""
