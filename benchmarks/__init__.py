"""Measurements that take minutes and print tables; `make bench-render` runs them."""
