"""The neurons of a network: what is counted of them."""
