"""What each unit leaves: its tables, its receipt, and marks while it runs."""
