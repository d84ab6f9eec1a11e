from .document import html as html
from .kinds import KINDS as KINDS
from .pictures import PICTURES as PICTURES
from .pictures import plot as plot
from .pictures import save as save
from .study import Study as Study
