"""Small programs that a reader copies; each is run by a test."""
