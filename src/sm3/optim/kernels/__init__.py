"""In-place steps on local tensors, a whole parameter list per call.

dispatch   which backend serves (device, dtype)
eager      plain PyTorch: obviously right; every other backend is checked against it
"""
