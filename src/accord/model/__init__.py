"""One decoder for every family, and the two ways its attention is run: plans and caches."""

from accord.model.attention import Attend
from accord.model.cache import KVCache
from accord.model.decoder import Decoder
from accord.model.plan import Plan

__all__ = ["Attend", "Decoder", "KVCache", "Plan"]
