"""What faults cost: this project's job beside Beam's stock recipe, Daft and LitData."""
