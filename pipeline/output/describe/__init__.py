"""Files beside the data that describe an output to others: a dataset card for the Hugging Face Hub."""
