"""Multi-turn text environments for Gymnasium. Importing this package registers the suite.

Needs gymnasium and numpy only; an environment's own dependencies are imported when it is made.
"""

from sdar_gym.check import ContractError, check_text_env
from sdar_gym.registration import SUITE, SuiteEntry, UnknownEnvError, make, make_vec, text_env
from sdar_gym.spaces import FreeText
from sdar_gym.tasks import Panel, PanelError, load_panel, make_panel
from sdar_gym.text_env import MANDATORY_INFO, TextEnv, TurnInfo, UnknownTaskError
from sdar_gym.wrappers import InvalidActionPenalty, Recorder, TaggedAction, parse_response

__version__ = "0.1.0"

__all__ = [
    "MANDATORY_INFO",
    "SUITE",
    "ContractError",
    "FreeText",
    "InvalidActionPenalty",
    "Panel",
    "PanelError",
    "Recorder",
    "SuiteEntry",
    "TaggedAction",
    "TextEnv",
    "TurnInfo",
    "UnknownEnvError",
    "UnknownTaskError",
    "check_text_env",
    "load_panel",
    "make",
    "make_panel",
    "make_vec",
    "parse_response",
    "text_env",
]
