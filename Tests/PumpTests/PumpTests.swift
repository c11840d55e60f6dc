import Pump
import Testing
