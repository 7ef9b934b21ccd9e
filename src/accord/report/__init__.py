"""Drawing what was measured: SVG figures, one offline HTML page, model cards. Computes nothing."""
