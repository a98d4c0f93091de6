"""From labelled wells to a model file.

prepare.py     images -> views, once; kept in a file beside the training
augment.py     what a view may undergo without changing its class
train.py       one member: SMMF, SM3 or AdamW, an average of the weights, checkpoints after every epoch
calibrate.py   temperature, threshold, label sets, distance and quality limits, all from wells of their own
fit.py         the whole: split, three members, calibration, model file; resumable, the same bits after a stop
"""
