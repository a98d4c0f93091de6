"""Which hyper-parameters matter, or an honest "these trials do not say": the job behind `sm3 tune`.

In the order data passes:

    space           SPACE.toml: a function, its hyper-parameters with ranges, how many trials
    draws           the settings of trial 0, 1, 2, ...: independent draws or a Sobol' sequence, fixed by the seed alone
    evaluate        one call of the function: a finite score, or how it ended badly
    trials          an Optuna study in a file: run what is missing, go on after a kill
    outcomes        the ended trials of a study, ours or somebody else's
    branches        the trials with the same hyper-parameters; each branch is judged on its own
    axes            an Optuna distribution as an input of a polynomial
    sampled         were these trials drawn as the ranges say? a guided search was not, and is refused
    score           the scores as a target: ranks or logarithms, bad ends capped and never dropped
    bad_ends        how many trials ended badly, and where
    fit, effects    the polynomial; first and total Sobol' indices with intervals, and the places these allow
    curve           Q2 over the number of trials, how many would do, and what noise leaves
    rank, refusal   a ranking, or why there is none and what would help
    peers           fANOVA and PED-ANOVA of Optuna, to be shown beside
    job             all of it, from a space or a study to a result
    pictures        three figures as SVG
    report, page    the tables and sentences for the terminal, the JSON object, the page
    progress        what is on stderr while trials run
    compare_trial   a function to tune: one short training of the byte-level GPT of `sm3 compare`

Importing this package imports none of them; Optuna, SciPy and matplotlib come with the files that need them.
"""
