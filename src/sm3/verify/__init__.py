"""The promises of sm3, proved on the user's own model and machine: the job behind `sm3 verify`. In order of the work:

    subject       what is trained: a function of the user, or the byte-level GPT of `sm3 compare`; does it repeat?
    variant       which optimizer with which settings, in which precision
    training      forward and backward of the subject, with leaves in the precision asked for
    record        the run that is never stopped: its losses, its end, and the gradients of every step on the disk
    difference    the largest difference between two sets of tensors
    outcome       one row of the certificate for one variant: what was compared, how far apart, and the verdict
    resume        a stopped and resumed run is the run that was never stopped
    release       gradients released in backward give what `step()` gives
    threads       one thread gives what k threads give
    sizes         planned bytes are measured bytes
    backends      C++ gives what plain PyTorch gives
    judge         the kernels give what the paper's formulas give, in NumPy
    ranks         one process gives what N processes with sharded parameters give
    one_rank      one of these processes
    run           all promises for all variants
    report        the table for people, the dict for JSON

Importing this package imports none of them; PyTorch comes with the files that need it.
"""
