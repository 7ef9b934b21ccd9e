"""Circles in a graph of preferences."""

from collections.abc import Hashable, Sequence
from itertools import count

Edge = tuple[Hashable, Hashable]


def on_cycles(edges: Sequence[Edge]) -> list[bool]:
    """Whether each edge lies on a cycle: both its ends are in one strongly connected component.

    In time linear in the edges. Source: Sharir's and Kosaraju's algorithm (Comput. Math. Appl. 7,
    1981); an edge from a node to itself is a cycle.
    """
    forth: dict[Hashable, list[Hashable]] = {}
    back: dict[Hashable, list[Hashable]] = {}
    for start, end in edges:
        forth.setdefault(start, []).append(end)
        forth.setdefault(end, [])
        back.setdefault(end, []).append(start)
        back.setdefault(start, [])
    finished = _finished(forth)
    component: dict[Hashable, int] = {}
    number = count()
    for root in reversed(finished):
        if root in component:
            continue
        own, open_ = next(number), [root]
        component[root] = own
        while open_:
            for node in back[open_.pop()]:
                if node not in component:
                    component[node] = own
                    open_.append(node)
    return [component[start] == component[end] for start, end in edges]


def _finished(graph: dict[Hashable, list[Hashable]]) -> list[Hashable]:
    """Nodes in the order in which a depth-first search leaves them."""
    left: list[Hashable] = []
    seen: set[Hashable] = set()
    for root, others in graph.items():
        if root in seen:
            continue
        seen.add(root)
        path = [(root, iter(others))]
        while path:
            node, ahead = path[-1]
            step = next((other for other in ahead if other not in seen), None)
            if step is None:
                left.append(node)
                path.pop()
            else:
                seen.add(step)
                path.append((step, iter(graph[step])))
    return left
