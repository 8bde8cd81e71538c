"""What runs: batch, inspection, the demonstration, and the graph that joins the operators."""
