"""Pictures of tokens and of what might come next: lens/tokens.py and lens/sampling.py, drawn.

Enter: a TokensView, NextTokens or SamplingView. Leave: a matplotlib Figure; HTML; lines for a terminal.
Next: lens/head_pictures.py.
"""

import html
import math

import numpy as np

from . import style

WORST = 8.0  # nats: a token that had one chance in 3,000; darker it does not get
LINE = 78  # characters of tokens in a row
SHOWN = 12  # tokens of a distribution


def draw_tokens(view, model=""):
    """Each token on a colour that says how unexpected it was -> Figure; below it the loss in nats."""
    rows = _rows(view.tokens)
    what = f"colour and number: loss in nats, 0 white to {WORST:g} dark; {_mean(view)}"
    figure = style.figure(9, 1.2 + 0.62 * len(rows), "How unexpected each token was", model, what)
    axes = figure.subplots()
    colours = style.colour_map(style.PROBABILITY)
    for y, row in enumerate(rows):
        x = 0.0
        for i in row:
            width, colour = _width(view.tokens[i]), colours(min(np.nan_to_num(view.losses[i]) / WORST, 1.0))
            axes.barh(-y, width, left=x, height=0.52, color=colour, edgecolor="white", linewidth=1)
            axes.text(x + width / 2, -y, style.legible(view.tokens[i]), ha="center", va="center", fontsize=10,
                      color=style.write_on(colour), fontfamily=style.fonts())
            if i:
                axes.text(x + width / 2, -y - 0.38, f"{view.losses[i]:.2f}", ha="center", va="center", fontsize=6.5,
                          color=style.PALE)
            x += width
    axes.set(xlim=(0, LINE), ylim=(0.6 - len(rows), 0.5))
    axes.axis("off")
    return figure


def tokens_html(view):
    """The same as HTML that needs nothing from elsewhere; a token's id, loss and rank show under the pointer."""
    cells = []
    look = "padding:1px 2px;margin:1px;border-radius:3px;display:inline-block"
    for token, i, loss, rank in zip(view.tokens, view.ids, view.losses, view.ranks, strict=True):
        known = math.isfinite(loss)
        share = min(loss / WORST, 1.0) if known else 0.0
        title = f"id {i}" + (f", loss {loss:.3f} nats, {rank:,} tokens were likelier" if known else ", the first token")
        colours = f"background:rgba(33,113,181,{share:.2f});color:#{'fff' if share > 0.6 else '222'}"
        cells.append(f'<span title="{title}" style="{colours};{look}">{html.escape(token)}</span>')
    cells, note = "".join(cells), f"loss in nats, 0 white to {WORST:g} dark; {_mean(view)}"
    return (
        '<div style="background:#fff;color:#222;font-family:monospace;line-height:1.8;padding:6px">'
        f'{cells}<div style="color:#666;font-size:80%">{note}</div></div>'
    )


def draw_next(found, model=""):
    """The likeliest next tokens as bars, with their probabilities -> Figure."""
    what = f"bars: probability; these {len(found.tokens)} hold {found.probs.sum():.1%} of it"
    figure = style.figure(6, 1.3 + 0.3 * len(found.tokens), f"What may come after {found.after}", model, what)
    axes = figure.subplots()
    _bars(axes, found.tokens, found.probs, style.PROBABILITY[3])
    return figure


def draw_sampling(view, model=""):
    """One distribution through every stage, side by side -> Figure; what a stage removed is hollow."""
    n = min(SHOWN, len(view.tokens))
    size, title = (1.2 + 1.9 * len(view.names), 1.6 + 0.28 * n), "From logits to one token, stage by stage"
    figure = style.figure(*size, title, model, "bars: probability after each stage; hollow: removed by it")
    for i, axes in enumerate(figure.subplots(1, len(view.names), sharey=True, squeeze=False)[0]):
        probs, before = view.probs[i, :n], view.probs[max(i - 1, 0), :n]
        _bars(axes, view.tokens[:n], probs, style.PROBABILITY[3])
        gone = np.where(probs == 0, before, 0)
        axes.barh(range(n), gone, fill=False, edgecolor=style.PALE, linewidth=0.8)
        said = f"{view.n_left[i]:,} left" + (f", which had {view.mass[i]:.1%}" if i else "")
        axes.set_title(f"{view.names[i]}\n{said}", fontsize=8, color=style.INK)
        axes.set_xlim(0, view.probs.max() * 1.35)
    return figure


def _bars(axes, tokens, probs, colour):
    axes.barh(range(len(tokens)), probs, color=colour)
    for y, prob in enumerate(probs):
        if prob > 0:
            axes.text(prob, y, f" {prob:.3f}", va="center", fontsize=7.5, color=style.INK)
    style.mark_tokens(axes.yaxis, tokens)
    axes.set_ylim(len(tokens) - 0.4, -0.6)
    axes.set_xlim(0, max(probs) * 1.2)
    axes.set_xticks([])
    style.without_frame(axes, "top", "right", "bottom")


def _rows(tokens):
    """The numbers of the tokens in each row."""
    rows, used = [[]], 0
    for i, token in enumerate(tokens):
        if used + _width(token) > LINE and rows[-1]:
            rows.append([])
            used = 0
        rows[-1].append(i)
        used += _width(token)
    return rows


def _width(token):
    return max(len(style.legible(token)) + 1.2, 4.6)  # the number below needs four


def _mean(view):
    return f"the mean is {np.nanmean(view.losses):.2f}" if len(view.tokens) > 1 else "a lone token was not guessed"
