"""Wells of moving bacteria from published physics: agents, an exposure, a camera.

species.py   every number, its unit and where it comes from: the zonal model, the sets, the ranges of the optics
zonal.py     the agents of Chen et al. 2021 in a round well, compiled
order.py     vortex order and other diagnostics of the motion, which no classifier ever sees
render.py    positions during one exposure -> light on the camera
camera.py    light -> integers: noise, depth, JPEG of a phone
wells.py     one seed -> a matched pair of wells that differ in the alignment range alone
folder.py    thousands of pairs -> OME-TIFF files with sidecars, in parallel, resumable
"""
