"""Measurements of sm3.swarm; each is one command and prints what the documentation quotes.

python -m benchmarks.swarm.vortex_order    the simulator against the published contrast, and the plot of the docs
python -m benchmarks.swarm.default_model   the model of the package, from nothing
python -m benchmarks.swarm.blind           the frozen model on four blind sets, the classical floor beside it
python -m benchmarks.swarm.refusals        photographs, blanks, saturated frames, and good wells
python -m benchmarks.swarm.speed           simulation, prediction, the whole command
python -m benchmarks.swarm.hostile         seconds and memory of files that mean harm
python -m benchmarks.swarm.optimizers      SMMF, SM3 and AdamW on the same wells, three seeds
python -m benchmarks.swarm.samples         the sample wells of the page
"""
