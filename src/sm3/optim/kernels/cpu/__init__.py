"""The step in C++: one pass over gradient, parameter and state, one call for a whole parameter list.

    library    finds and loads the shared library; says why it is not there
    sm3, smmf  describe a parameter list to it; what it does not serve goes to the eager kernels

In C++, in the order a step passes:

    abi.h                          the C interface: structs and functions
    exports.cpp                    checks a call, picks the instruction set
    sm3_list.cpp  smmf_list.cpp    a list of tensors under one rule
    smmf_halves.cpp                the same in two halves, for tensors cut over ranks
    schedule.cpp  threads.cpp      panels of rows, shared out to threads; a result does not depend on how many
    sm3_panel.h   smmf_panel.h     one panel: the mathematics, 16 columns at a time
    numbers.h     signs.h          dtypes, rounding, noise; packed signs
    update_rms.h                   the update's length held at a target
    lanes_*.h     isa_*.cpp        16 lanes on each instruction set, and the kernels compiled for it
"""
