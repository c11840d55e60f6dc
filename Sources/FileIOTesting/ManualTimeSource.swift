internal import FileIO
internal import Synchronization

/// A clock that stands still until it is told to move.
package final class ManualTimeSource: TimeSource {
    private let microseconds: Atomic<Int64>

    /// Makes a clock.
    ///
    /// - Parameter microseconds: The wall time to start with, µs since the epoch.
    package init(microseconds: Int64 = 1_767_225_600_000_000) {
        self.microseconds = Atomic(microseconds)
    }

    /// Moves both clocks forward.
    package func advance(microseconds count: Int64) {
        microseconds.add(count, ordering: .relaxed)
    }

    /// The wall time.
    package func wallMicroseconds() -> Int64 {
        microseconds.load(ordering: .relaxed)
    }

    /// The same clock in nanoseconds.
    package func monotonicNanoseconds() -> UInt64 {
        UInt64(clamping: microseconds.load(ordering: .relaxed)) * 1_000
    }
}
