"""Finished runs for other tools: a folder in the form that each reads by itself."""

from relubench.exports import tables, trackers
from relubench.exports.export import EXPORTS, Export, ExportedRun

__all__ = ["EXPORTS", "Export", "ExportedRun", "tables", "trackers"]
