"""The fleet: Celery workers that score what arrives, and the clock that rings them.

The ledger is the queue. A message is a doorbell that carries the number of a scorer and nothing else: losing one
costs time, and receiving one twice costs nothing.
"""
