"""Which texts may still go on to match: one state for all that were read, made as they are met.

Enter: an Nfa. Leave: an Automaton: a state and a byte give the next state (Rabin and Scott 1959), for one text, or for
many pieces of text at once. Patterns come from anyone, so states, memory and work have limits.
Next: generation/constraints.py.
"""

import numpy as np

from ..errors import InputError

DEAD, UNKNOWN = -1, -2
MOST_STATES, MOST_MEMBERS, MOST_WORK = 10_000, 1_000_000, 20_000_000  # some 100 MB, and 10 seconds


class Automaton:
    """State 0 begins; `table` int32 [n_states, n_kinds] holds what is known, DEAD where no text can go on to match."""

    def __init__(self, nfa, name="pattern"):
        self.nfa, self.name, self.work, self.n_members = nfa, name, 0, 0
        cuts = {0, *(cut for arcs in nfa.arcs for first, last, _ in arcs for cut in (first, last + 1))}
        self.kind_of = np.searchsorted(sorted(cuts), np.arange(256), side="right") - 1  # bytes that no arc tells apart
        self.example = np.unique(self.kind_of, return_index=True)[1]  # a byte of each kind
        self.table = np.full((4, len(self.example)), UNKNOWN, np.int32)
        self.members, self.number_of = [], {}  # of each state: the states of the Nfa, sorted, and back
        self._number(self._closed({0}))

    def step(self, state, byte):
        """The state behind one byte more; DEAD where that cannot match."""
        kind = self.kind_of[byte]
        if self.table[state, kind] == UNKNOWN:
            self.table[state, kind] = self._find(state, int(self.example[kind]))
        return int(self.table[state, kind])

    def run(self, state, data):
        """The state behind some bytes; DEAD where they cannot match."""
        for byte in data:
            if state == DEAD:
                break
            state = self.step(state, byte)
        return state

    def run_all(self, state, pieces, lengths):  # uint8 [n_pieces, longest], int [n_pieces] -> int32 [n_pieces]
        """The state behind each of many pieces, all read from one state; DEAD for those that cannot match."""
        found = np.full(len(pieces), state, np.int32)
        alive = np.arange(len(pieces))
        for column in range(pieces.shape[1]):
            alive = alive[lengths[alive] > column]
            if not alive.size:
                break
            kinds = self.kind_of[pieces[alive, column]]
            self._fill(found[alive], kinds)
            found[alive] = self.table[found[alive], kinds]
            alive = alive[found[alive] != DEAD]
        return found

    def may_end(self, state):
        """Does a text that led here match as it is?"""
        return any(member in self.nfa.ends for member in self.members[state])

    def goes_on(self, state):
        """Does a text that led here match with something more behind it?"""
        return any(self.nfa.arcs[member] for member in self.members[state])

    def _fill(self, states, kinds):
        """Find what is not known yet of some states and kinds."""
        missing = self.table[states, kinds] == UNKNOWN
        for state, kind in np.unique(np.stack([states[missing], kinds[missing]], axis=1), axis=0):
            self.table[state, kind] = self._find(int(state), int(self.example[kind]))

    def _find(self, state, byte):
        arcs = [arc for member in self.members[state] for arc in self.nfa.arcs[member]]
        self._count(len(arcs))
        reached = {to for first, last, to in arcs if first <= byte <= last}
        return self._number(self._closed(reached)) if reached else DEAD

    def _closed(self, states):
        """The states, and all that free moves lead to."""
        found, todo = set(states), list(states)
        while todo:
            more = [to for to in self.nfa.free[todo.pop()] if to not in found]
            found.update(more)
            todo += more
            self._count(1 + len(more))
        return found

    def _number(self, states):
        """The number of a set of states; those that neither end nor read a byte make no difference."""
        key = tuple(sorted(state for state in states if self.nfa.arcs[state] or state in self.nfa.ends))
        if key not in self.number_of:
            self.n_members += len(key)
            if len(self.members) >= MOST_STATES or self.n_members > MOST_MEMBERS:
                raise self._too_much(f"at most {MOST_STATES:,} states of {MOST_MEMBERS:,} parts")
            if len(self.members) == len(self.table):
                self.table = np.concatenate([self.table, np.full_like(self.table, UNKNOWN)])
            self.number_of[key] = len(self.members)
            self.members.append(key)
        return self.number_of[key]

    def _count(self, n):
        self.work += n
        if self.work > MOST_WORK:
            raise self._too_much(f"at most {MOST_WORK:,} steps of work")

    def _too_much(self, expected):
        advice = "use fewer repetitions inside one another, or shorter ones"
        return InputError(f"{self.name}: expected one that takes {expected}, got more; {advice}")
