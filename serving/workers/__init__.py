"""Processes that hold the model, and the queue before them.

line.py      photos that wait, at most so many, each until its deadline
process.py   what a worker process does: photos in, parameters out
worker.py    one such process, seen from the service
pool.py      all workers of one release
models.py    the release that answers now, and the one that follows it
"""
