"""Versions of the package, and of the algorithms whose results are kept on disk.

A kept result is used again only by the algorithm that made it. Raise an algorithm's version
whenever a change of code changes its results; comments, moves and speed do not count. A test
compares small golden results, and fails where they have changed and the version has not.
"""

__version__ = "0.2.0"

#: The weights that a training ends at, and so when it ends: its targets, its evaluation.
TRAINING_ALGORITHM = 1
#: The numbers of an analysis.
ANALYSIS_ALGORITHM = 3
#: The measures of a network by which claims are tested.
MEASURES_ALGORITHM = 3
