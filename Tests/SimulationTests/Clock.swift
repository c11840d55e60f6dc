import FileIO
import Synchronization

/// A clock that moves a little whenever it is looked at, and otherwise when it is told to; its wall
/// time may be set back.
final class Clock: TimeSource {
    private let monotonic = Atomic<UInt64>(1_000_000_000_000)
    private let offset = Atomic<Int64>(1_767_225_600_000_000)

    func advance(milliseconds: Int) {
        monotonic.add(UInt64(milliseconds) * 1_000_000, ordering: .relaxed)
    }

    /// Sets the wall time back or forward.
    func shift(milliseconds: Int) {
        offset.add(Int64(milliseconds) * 1_000, ordering: .relaxed)
    }

    func wallMicroseconds() -> Int64 {
        offset.load(ordering: .relaxed) + Int64(monotonicNanoseconds() / 1_000)
    }

    func monotonicNanoseconds() -> UInt64 {
        monotonic.wrappingAdd(20_000, ordering: .relaxed).newValue
    }
}
