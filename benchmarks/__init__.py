"""Measurements, never asserted in a test. Each file prints its bound, its spread, its peers and a control.

step_time     one optimizer step against PyTorch's own optimizers, all threads      make bench
native_step   the C++ kernels on one thread, with the bandwidth bound               make bench
records       what was printed, by machine and date
"""
