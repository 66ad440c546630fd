"""What developers of the project run: locks, the picture of the architecture."""
