"""Where rows come from. One module per kind; ``sql`` holds what SQL databases share."""
