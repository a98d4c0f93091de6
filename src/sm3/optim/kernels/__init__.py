"""In-place steps on local tensors, a whole parameter list per call.

dispatch   which backend serves (device, dtype)
eager      plain PyTorch: obviously right; every other backend is checked against it
cpu        C++: one pass over memory, on a pool of threads
triton     CUDA, when asked for; checked in Triton's interpreter only
"""
