"""The models that AVRT names; the package's own list has hundreds, and pyright would read them all.

Beside the other files of transformers, which stay in use ("partial" in `py.typed`). Whoever imports
another model from `transformers` adds its folder here; until then pyright calls it unknown.
"""

from .auto import *
from .qwen2 import *
from .qwen2_5_omni import *
from .qwen2_5_vl import *
from .qwen2_audio import *
from .qwen2_vl import *
from .whisper import *
