"""The `__main__` of processes that a rank spawns, such as the workers of a pool or a DataLoader.

In these processes `multiprocessing` runs this module, as it would run the script of the parent.
"""

from lablib.cluster.definitions import of_a_parent

globals().update(of_a_parent())  # nothing if the parent is not a rank
