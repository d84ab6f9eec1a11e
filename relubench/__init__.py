"""relubench: which activation should this network use, and what does it cost?"""

__version__ = "0.1.0"
