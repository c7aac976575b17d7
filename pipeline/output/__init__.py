"""What a run leaves in its output: the names of its files (``layout``), and a folder for each question about them."""
