"""What a person reads of a fitted model.

analysis         all its numbers
learning_curve   held-out error over the number of rows
verdict          what the numbers say, in sentences
summary          for the terminal, and as data
pictures         figures, from plain numbers
page             one HTML file with all of it
"""
