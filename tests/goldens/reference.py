"""Someone else's GPT-2, run and watched: transformers' model, PyTorch's autograd and AdamW. Nothing of nanogpt_np.

Enter: sizes, seeded weights and ids (recipe.py). Leave: flat dicts of arrays: "acts/...", "logits", "loss",
"grads/...", "norm", "losses", "stepped/...", which make.py writes to files.
"""

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from . import recipe


def build(sizes, weights, dtype=torch.float64, activation="gelu_new", layer_norm_eps=1e-5):
    """A transformers GPT-2 in `dtype` that holds the given weights; dropout is off."""
    config = GPT2Config(
        vocab_size=sizes.n_vocab,
        n_positions=sizes.n_ctx,
        n_embd=sizes.n_embd,
        n_layer=sizes.n_layer,
        n_head=sizes.n_head,
        n_inner=sizes.n_inner,
        activation_function=activation,
        layer_norm_epsilon=layer_norm_eps,
        tie_word_embeddings=sizes.tied,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="eager",
    )
    model = GPT2LMHeadModel(config).to(dtype).eval()
    with torch.no_grad():
        for name, parameter in parameters(model).items():
            parameter.copy_(torch.from_numpy(weights[name]))
    return model


def parameters(model):
    """Published name -> parameter; a tied output layer is the embedding and is listed once."""
    return {name.removeprefix("transformer."): parameter for name, parameter in model.named_parameters()}


def watch(model):
    """Hook a model so that the returned dict fills with every named activation of its next forward pass."""
    seen = {}

    def output_of(module, name):
        module.register_forward_hook(lambda module, args, out: seen.__setitem__(name, out))

    def input_of(module, name):
        module.register_forward_pre_hook(lambda module, args: seen.__setitem__(name, args[0]))

    input_of(model.transformer.drop, "embedded")
    input_of(model.transformer.ln_f, "x")
    output_of(model.transformer.ln_f, "final")
    for i, block in enumerate(model.transformer.h):
        at = f"blocks.{i}."
        input_of(block.ln_1, f"{at}x")
        output_of(block.ln_1, f"{at}attn.x")
        output_of(block.attn.c_attn, f"{at}attn.qkv")
        block.attn.register_forward_hook(lambda _, args, out, at=at: seen.__setitem__(f"{at}attn.probs", out[1]))
        input_of(block.attn.c_proj, f"{at}attn.merged")
        output_of(block.attn.c_proj, f"{at}attn_out")
        input_of(block.ln_2, f"{at}x_mid")
        output_of(block.ln_2, f"{at}ffn.x")
        output_of(block.mlp.c_fc, f"{at}ffn.pre_gelu")
        output_of(block.mlp.act, f"{at}ffn.hidden")
        output_of(block.mlp.c_proj, f"{at}ffn_out")
    return seen


def split_heads(named, n_head):
    """What was seen, as arrays; qkv [n_batch, n_seq, 3*n_embd] becomes q, k, v [n_batch, n_head, n_seq, d_head]."""
    arrays = {}
    for name, tensor in named.items():
        array = tensor.detach().numpy()
        if name.endswith("attn.qkv"):
            n_batch, n_seq, _ = array.shape
            for part, piece in zip("qkv", np.split(array, 3, axis=-1), strict=True):
                heads = piece.reshape(n_batch, n_seq, n_head, -1).transpose(0, 2, 1, 3)
                arrays[name.removesuffix("qkv") + part] = heads
        else:
            arrays[name] = array
    return arrays


def cross_entropy(logits, targets):
    """Mean over the targets that are not -100."""
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def forward(model, ids, sizes):
    """Every named activation and the logits of one pass, under "acts/..." and "logits"."""
    seen = watch(model)
    with torch.no_grad():
        logits = model(torch.from_numpy(ids), use_cache=False).logits
    return {f"acts/{name}": a for name, a in split_heads(seen, sizes.n_head).items()} | {"logits": logits.numpy()}


def gradients(model, tokens):
    """Next-token prediction: "loss", every parameter's gradient as "grads/...", and their common length, "norm"."""
    ids, targets = torch.from_numpy(tokens[:, :-1]), torch.from_numpy(tokens[:, 1:])
    model.zero_grad()
    loss = cross_entropy(model(ids, use_cache=False).logits, targets)
    loss.backward()
    grads = {f"grads/{name}": p.grad.numpy().copy() for name, p in parameters(model).items()}
    # summed in float64 whatever the dtype; PyTorch's own float32 norm of 54 million numbers is wrong by 5e-4
    norm = np.sqrt(sum(np.square(grad, dtype=np.float64).sum() for grad in grads.values()))
    return grads | {"loss": loss.detach().numpy(), "norm": norm}


def train(model, tokens, lr):
    """Ten steps of AdamW on one batch: "losses" (each before its step) and the parameters afterwards, "stepped/...".

    Only matrices decay, as in GPT-2's training; gradients are clipped to a norm of 1 first.
    """
    every = list(model.parameters())
    groups = [
        {"params": [p for p in every if p.ndim >= 2], "weight_decay": recipe.ADAMW["weight_decay"]},
        {"params": [p for p in every if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=recipe.ADAMW["betas"], eps=recipe.ADAMW["eps"], foreach=False)
    ids, targets = torch.from_numpy(tokens[:, :-1]), torch.from_numpy(tokens[:, 1:])
    losses = []
    for _ in range(recipe.N_STEPS):
        optimizer.zero_grad()
        loss = cross_entropy(model(ids, use_cache=False).logits, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(every, recipe.CLIP_NORM)
        optimizer.step()
        losses.append(loss.item())
    stepped = {f"stepped/{name}": p.detach().numpy() for name, p in parameters(model).items()}
    return stepped | {"losses": np.array(losses)}


def everything(sizes, weights, tokens, lr, dtype, activation="gelu_new"):
    """Forward, loss, gradients and ten steps of one model in one dtype."""
    model = build(sizes, weights, dtype, activation)
    return forward(model, tokens[:, :-1], sizes) | gradients(model, tokens) | train(model, tokens, lr)


def beam_search(model, ids, mask, setting, repetition_penalty=None, suppress_tokens=None):
    """transformers' own: new ids [n_prompts * n_returned, n_new] with -1 behind the end, and their float32 scores."""
    out = model.generate(
        torch.from_numpy(ids),
        attention_mask=torch.from_numpy(mask),
        num_beams=setting.num_beams,
        length_penalty=setting.length_penalty,
        early_stopping=setting.early_stopping,
        eos_token_id=list(setting.stop_ids) or None,
        num_return_sequences=recipe.BEAMS_RETURNED,
        max_new_tokens=recipe.BEAMS_NEW,
        do_sample=False,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
        repetition_penalty=repetition_penalty,
        suppress_tokens=suppress_tokens,
    )
    n_new = (out.beam_indices >= 0).sum(dim=1).numpy()  # generate pads with an id like any other; this tells the end
    new = np.full((len(n_new), recipe.BEAMS_NEW), -1)
    for row, sequence, n in zip(new, out.sequences.numpy(), n_new, strict=True):
        row[:n] = sequence[ids.shape[1] : ids.shape[1] + n]
    return new, out.sequences_scores.numpy()


def score(model, prompt, new, length_penalty):
    """The score of one sequence by its definition, in the model's own precision, without padding, cache or beams."""
    with torch.no_grad():
        logits = model(torch.from_numpy(np.concatenate([prompt, new])[None]), use_cache=False).logits[0]
    log_probs = torch.log_softmax(logits, dim=-1)[len(prompt) - 1 : -1]
    return log_probs[torch.arange(len(new)), torch.from_numpy(new)].sum().item() / len(new) ** length_penalty
