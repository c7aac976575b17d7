"""Writers of a unit's outputs. Each writes one object through a sink that becomes visible whole or never."""
