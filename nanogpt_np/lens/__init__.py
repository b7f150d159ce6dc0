"""Looking inside: a model and a text in, named arrays out, and pictures of them. No hooks: all is read from `acts`.

Enter: a GPT and a text (or ids). Leave: a NamedTuple of arrays and tokens, which a picture, a page or a test can read.
Each has its picture: what attention_view returns, draw_attention draws.
To read: seen, coloured, tokens, embeddings, attention, residual, logits, attribution, interventions, patching,
gradients, learning, playback, cost, weights, steps, sampling, arrays (any by its name), cells (what one number was made
of), differences (two passes), generated (a text as it grows) (arrays); style, token_pictures, head_pictures,
stream_pictures, cost_pictures, learning_pictures; asked.
"""

from .arrays import array_names, array_view
from .attention import attention_grid, attention_view, head_summaries, induction_scores
from .attribution import attribution_view
from .cells import cell_view
from .coloured import tokens_ansi, tokens_html
from .cost import cache_growth, cost_view
from .cost_pictures import draw_cost, draw_gradients, draw_rounding, draw_weights
from .differences import difference_view, reading
from .embeddings import neighbours, positions_view
from .generated import generation_view
from .gradients import gradients_view, pattern_gradients
from .head_pictures import draw_attention, draw_attention_grid, draw_attention_lines, draw_attention_stages, draw_heads
from .interventions import Run, ablate, run, run_blocks, taken_out
from .learning import step_view, training_view
from .learning_pictures import draw_playback, draw_step, draw_training
from .logits import logit_lens_view
from .patching import patch, patch_map, path_patch
from .playback import playback_view
from .residual import layer_norms, neuron_texts, neurons, residual_view
from .sampling import sampling_view, stages_view
from .seen import look, stream
from .steps import Trace, trace
from .stream_pictures import (
    draw_attribution,
    draw_layer_norms,
    draw_logit_lens,
    draw_neurons,
    draw_patch_map,
    draw_residual,
)
from .token_pictures import draw_neighbours, draw_next, draw_positions, draw_sampling, draw_tokens
from .tokens import next_tokens, tokens_view
from .weights import rounding_view, weights_view

__all__ = [
    "Run", "Trace", "ablate", "array_names", "array_view", "attention_grid", "attention_view", "attribution_view",
    "cache_growth", "cell_view", "cost_view", "difference_view", "draw_attention", "draw_attention_grid",
    "draw_attention_lines", "draw_attention_stages", "draw_attribution", "draw_cost", "draw_gradients", "draw_heads",
    "draw_layer_norms", "draw_logit_lens", "draw_neighbours", "draw_neurons", "draw_next", "draw_patch_map",
    "draw_playback", "draw_positions", "draw_residual", "draw_rounding", "draw_sampling", "draw_step", "draw_tokens",
    "draw_training", "draw_weights", "generation_view", "gradients_view", "head_summaries", "induction_scores",
    "layer_norms", "logit_lens_view", "look", "neighbours", "neuron_texts", "neurons", "next_tokens", "patch",
    "patch_map", "path_patch", "pattern_gradients", "playback_view", "positions_view", "reading", "residual_view",
    "rounding_view", "run", "run_blocks", "sampling_view", "stages_view", "step_view", "stream", "taken_out",
    "tokens_ansi", "tokens_html", "tokens_view", "trace", "training_view", "weights_view",
]  # fmt: skip
