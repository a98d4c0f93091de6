"""The inputs of a function: a distribution for each, its polynomials, and the map between its values and theirs.

features        the columns of a table: names, the argument `inputs`, labels as numbers
one_input       what is said about one input -> its polynomials and its map
distributions   those of scipy.stats, as objects and as data
maps            between a physical value and the variable of the polynomials
domain          rows outside: a warning, an error, the nearest point, or nan
"""
