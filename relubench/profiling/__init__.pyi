from . import analysis as analysis
from . import table as table
from . import timing as timing
