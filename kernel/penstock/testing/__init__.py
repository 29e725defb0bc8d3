"""For the tests of apps and plugins: fakes that keep the real thing's laws, and the laws as functions.

Nothing here needs pytest or a network.
"""

from penstock.testing._laws import check_provider as check_provider
from penstock.testing._scripted import Answer as Answer
from penstock.testing._scripted import Broken as Broken
from penstock.testing._scripted import Reply as Reply
from penstock.testing._scripted import ScriptedTransport as ScriptedTransport
from penstock.testing._scripted import Silence as Silence
