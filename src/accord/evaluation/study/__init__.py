"""Statistics of a study: several variants and seeds compared, and what may be concluded."""
