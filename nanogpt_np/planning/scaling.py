"""How the loss falls with parameters and tokens: three published fits, and what each calls best.

Enter: N parameters and D tokens, or C operations. Leave: nats per token, on the texts and tokens of each paper, so of
no use for another vocabulary but to compare. Next: planning/naming.py.
"""

from dataclasses import dataclass

from .work import PF_DAY


@dataclass(frozen=True)
class Additive:
    """L = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, equation 10); N counts all parameters."""

    name: str
    source: str
    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, n_params, n_tokens):
        """Nats per token."""
        return self.E + self.A / n_params**self.alpha + self.B / n_tokens**self.beta

    def best(self, flops):
        """(N, D) with the least loss under 6 N D = flops (equation 4): N = G (C / 6)^a, a = beta / (alpha + beta)."""
        ratio = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
        n_params = ratio * (flops / 6) ** (self.beta / (self.alpha + self.beta))
        return n_params, flops / 6 / n_params

    def best_loss(self, flops):
        """Nats per token there."""
        return self.loss(*self.best(flops))


@dataclass(frozen=True)
class Joint:
    """L = ((Nc / N)^(aN / aD) + Dc / D)^aD (Kaplan et al. 2020, equation 1.5, table 2); N without embeddings.

    That is the loss of training until nothing improves. What they call best stops earlier, about 10 % above it
    (appendix B.2): L = (Cc / C)^aC, N = 1.3e9 C^0.73, D = 2e10 C^0.27, C in petaflop/s-days (tables 5 and 6).
    """

    name: str
    source: str
    Nc: float
    Dc: float
    aN: float
    aD: float
    Cc: float
    aC: float
    best_n: tuple  # scale and power
    best_d: tuple

    def loss(self, n_params, n_tokens):
        """Nats per token."""
        return ((self.Nc / n_params) ** (self.aN / self.aD) + self.Dc / n_tokens) ** self.aD

    def best(self, flops):
        """(N, D) that are best for so many operations, C taken for the paper's C_min."""
        (scale_n, power_n), (scale_d, power_d) = self.best_n, self.best_d
        days = flops / PF_DAY
        return scale_n * days**power_n, scale_d * days**power_d

    def best_loss(self, flops):
        """Nats per token there."""
        return (self.Cc * PF_DAY / flops) ** self.aC


KAPLAN = Joint("Kaplan 2020", "Kaplan et al. 2020, tables 2, 5 and 6", 6.4e13, 1.8e13, 0.076, 0.103, 3.1e8, 0.050,
               (1.3e9, 0.73), (2e10, 0.27))  # fmt: skip
HOFFMANN = Additive("Hoffmann 2022", "Hoffmann et al. 2022, equation 10", 1.69, 406.4, 410.7, 0.34, 0.28)
BESIROGLU = Additive("Besiroglu 2024", "Besiroglu et al. 2024, the same data fitted anew",
                     1.8172, 482.01, 2085.43, 0.3478, 0.3658)  # fmt: skip
FITS = (KAPLAN, HOFFMANN, BESIROGLU)


@dataclass(frozen=True)
class Forecast:
    """What one fit says of a run: its loss, and the best size and number of tokens for as many operations."""

    fit: str
    source: str
    loss: float
    best_params: float
    best_tokens: float
    best_loss: float


def forecast(sizes, n_tokens, flops):
    """A Forecast by each of FITS; each counts parameters in its own way."""
    found = []
    for fit in FITS:
        n_params = sizes.n_blocks if isinstance(fit, Joint) else sizes.n_params
        loss, best = fit.loss(n_params, n_tokens), fit.best(flops)
        found.append(Forecast(fit.name, fit.source, loss, *best, fit.best_loss(flops)))
    return tuple(found)
