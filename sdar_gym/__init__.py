"""Multi-turn text environments for Gymnasium. Importing this package registers the suite.

Needs gymnasium and numpy only; an environment's own dependencies are imported when it is made.
"""

from sdar_gym.batch import BatchMisuseError, SlotError, SlotTurn, TextBatch
from sdar_gym.check import ContractError, check_text_env
from sdar_gym.errors import TaskError
from sdar_gym.registration import SUITE, SuiteEntry, UnknownEnvError, fork, make, make_vec, text_env
from sdar_gym.spaces import FreeText
from sdar_gym.tasks import Panel, PanelError, load_panel, make_panel
from sdar_gym.text_env import MANDATORY_INFO, TextEnv, TurnInfo, UnknownTaskError
from sdar_gym.vector import turn_info
from sdar_gym.wrappers import InvalidActionPenalty, Recorder, TaggedAction, parse_response

__version__ = "0.1.0"

__all__ = [
    "MANDATORY_INFO",
    "SUITE",
    "BatchMisuseError",
    "ContractError",
    "FreeText",
    "InvalidActionPenalty",
    "Panel",
    "PanelError",
    "Recorder",
    "SlotError",
    "SlotTurn",
    "SuiteEntry",
    "TaggedAction",
    "TaskError",
    "TextBatch",
    "TextEnv",
    "TurnInfo",
    "UnknownEnvError",
    "UnknownTaskError",
    "check_text_env",
    "fork",
    "load_panel",
    "make",
    "make_panel",
    "make_vec",
    "parse_response",
    "text_env",
    "turn_info",
]
