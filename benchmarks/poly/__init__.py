"""Measurements of `sm3.poly`: run from the repository, `python -m benchmarks.poly.<name>`.

To run:

    acceptance       what sm3.poly promises, one line for each goal: figure, goal, met or missed
    reproduce        the experiments of arXiv 2208.09045: our figures beside the paper's, cell by cell
    peers            time and error against OpenTURNS, chaospy and a scikit-learn pipeline, on the same samples
    scale            a greedy fit of 102,088 functions without their matrix: seconds and peak memory

What they are made of:

    accuracy_goals   Sobol' indices, exact recovery, Q2 against new points
    time_goals       square-root LASSO to a certified gap, all Sobol' indices, scale in a process of its own
    finding          one goal with what was found
    contestants      who fits in `peers`: ours, and peers that are imported when they are asked for
    rounds           interleaved rounds in which slow contestants run fewer
    functions        the functions that are approximated, as published
    paper            the figures of the paper, as data
"""
