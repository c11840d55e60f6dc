import Sinks
import Testing
