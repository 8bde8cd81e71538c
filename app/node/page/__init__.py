"""The node's web page, its JSON interface, its metrics and its health."""
