"""The few types that every operator shares: acquisitions, quantities, results, refusals."""
