"""Processes that hold the model, and the queue before them.

queue.py          photos that wait, at most so many, each until its deadline
process.py        what a worker process does: photos in, parameters out
pool.py           all workers of one release
model_manager.py  the release that answers now, and the one that follows it
"""
