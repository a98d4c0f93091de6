"""Measurements, never asserted in a test. Each prints its bound, its spread, its peers and a control.

    make bench                          all of it, a quarter of an hour; makes records/<machine>/<date>-bench.{txt,json}
    make bench ARGS=--quick             a few minutes, few rounds: to see that it works, not to quote
    make record                         make bench, then the table in README.md from the new record
    python -m benchmarks.native_step    one subject alone; --help says its options, --json gives one run record

In the order in which a figure is made:

shapes         the lists of parameters that are stepped
contestants    the optimizers, by name
answers        what is timed is right first: C++ against plain PyTorch, on the very parameters
bounds         bytes a step must move, and how fast this machine moves them
measure        interleaved rounds, medians, ratios of the same round, the control and its verdict
conditions     processor, page mode, instruction set, load
native_step    one `optimizer.step()` on given gradients, by set of shapes, dtype and threads
training_step  the same within forward, backward, step of a GPT
peers          other implementations of the same algorithms, installed apart
memory         the peak of a step above weights and gradients
leak           10,000 steps, and the slope of resident memory
shard_bytes    what ranks send each other in a step of SMMF, from shapes alone
switching      losses after a switch from AdamW in the middle of a run: converted, cold, or not at all
lean           100 M parameters through `sm3.lean`: bytes as planned, bits as without
command        a measurement as a command and as a process of its own
record         where results are kept; the newest one
readme         the table in README.md, made from the newest record
"""
