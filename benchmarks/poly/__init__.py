"""Measurements of `sm3.poly`: run from the repository, `python -m benchmarks.poly.<name>`.

functions   the functions that are approximated, as published
paper       the figures of the paper, as data
reproduce   our figures beside the paper's, cell by cell, in one command
peers       time and error against OpenTURNS, chaospy and a scikit-learn pipeline, on the same samples
"""
