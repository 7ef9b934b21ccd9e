"""Judging the judge: what a reward model's scores are worth, and what may be concluded from them.

Everything is measured through `item.Judge`, which a reward model and a plain function both are.
"""
