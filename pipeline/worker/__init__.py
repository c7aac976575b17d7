"""What a worker does with one unit: read, compute, write, and leave a receipt."""
