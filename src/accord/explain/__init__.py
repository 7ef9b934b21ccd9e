"""Plain words for every name a user meets: metrics, recipe keys, losses, kinds of stage."""
