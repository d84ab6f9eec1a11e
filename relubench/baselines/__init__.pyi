from . import ci as ci
from . import gate as gate
from . import options as options
from . import record as record
from . import workflow as workflow
