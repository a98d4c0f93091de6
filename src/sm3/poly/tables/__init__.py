"""Files a user gives; every mistake in them is told with its line and column.

text_file     encoding
table         a CSV file as columns
inputs_file   inputs.toml: the distribution of each input
from_table    from both to a model, and predictions as columns
"""
