from . import analysis as analysis
from . import memory as memory
from . import profiles as profiles
from . import table as table
from . import timing as timing
