"""What faults cost: this project's job beside Beam's stock recipe, Daft, LitData and Ray Data."""
