from .source import Action as Action
from .source import Moment as Moment
from .source import Source as Source
from .sources.carla import carla_source as carla_source
from .sources.replay import replay_source as replay_source
from .sources.town import town_source as town_source
from .world import DrivingWorld as DrivingWorld
from .world import Picture as Picture
