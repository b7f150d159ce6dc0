"""Text files in, a model directory out.

Enter: TrainOptions. Leave: a trained model, and what a run needs to go on.
To read: backward (the mirror of model.py), finite_differences (is a backward right?), data, optim, parts,
stopping, evaluation, samples, state, best, kept, report, picture, options, folder, recipes, start, plan, limits,
progress, loop; then on several processes: distributed_parts, distributed_ranks, distributed_sums, distributed_optim,
distributed.
"""
