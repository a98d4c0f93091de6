"""Two networks as PyTorch modules; exported, the same arithmetic runs in ONNX Runtime and in a browser.

sampling.py    pixels at places between pixels; smoothing as products of matrices
finder.py      image -> the well's circle and how sure its rim is; nothing in it is trained
view.py        image and circle -> 128 x 128 pixels of 0.65 um, background removed, normalised inside the well
small.py       view -> feature map; 61 thousand parameters; the default
dense.py       view -> feature map; densely connected with channel attention, nearest kin of Li et al. 2025
classifier.py  members x eight mirrored copies -> logits, an exact map of evidence, streaks, measures of quality
fold.py        normalisations folded away, weights rounded: every front end holds the same numbers in half the bytes
onnx_file.py   both networks as ONNX, for images of any size
"""
