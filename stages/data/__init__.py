"""Data: photo sets, tables, exported pairs, and what a stage reads of them."""
