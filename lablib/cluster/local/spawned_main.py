"""What a process that a rank spawns (a worker of a pool or a DataLoader) has as its `__main__`.

`multiprocessing` runs this module there, as it would run the script of the parent process.
"""

from lablib.cluster.definitions import of_a_parent

globals().update(of_a_parent())  # nothing, where no rank is the parent
