"""One model, one text, several optimizers, honestly: the job behind `sm3 compare`. In the order data passes:

    data          the text: the running Python's own standard library, or the user's; split by file
    landmarks     what a byte costs without any model: unigram entropy, gzip, xz
    model         a small byte-level GPT
    task          what is trained: (model, batches, loss) per seed, and what the loss is measured on
    user          the same from a function of the user, `--model module:function`
    contestants   the optimizers as data: class, fixed settings, learning rates to try
    protocol      how long, how often, with which schedule: `--quick` and `--thorough`
    train         one run: (contestant, lr, seed, steps, task) -> RunRecord
    memory        bytes of state, planned and measured; peak resident memory (all figures come from sm3.plan)
    store         the output folder: finished runs, one per line; the same settings go on, others are refused
    sweep         all runs: learning rates at a short budget, then seeds at the full one
    timing        what a step costs on large tensors, interleaved, with a control
    verdict       rows of the table and the sentences about them; refuses to rank where seeds overlap
    pictures      four figures as SVG
    report        the table for the terminal, the page, the JSON file
    progress      what is on stderr while it runs

Importing this package imports none of them; PyTorch and matplotlib come with the files that need them.
"""
