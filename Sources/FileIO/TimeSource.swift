internal import Glibc

/// Where the time comes from, so that tests can decide it.
package protocol TimeSource: Sendable {
    /// The wall clock: microseconds since the epoch, UTC. It may jump.
    func wallMicroseconds() -> Int64
    /// A clock that never goes back: nanoseconds since some fixed moment of this boot.
    func monotonicNanoseconds() -> UInt64
}

/// The machine's clocks.
package struct SystemTimeSource: TimeSource {
    /// Makes a time source; it has no state.
    package init() {}

    /// The wall clock (`CLOCK_REALTIME`).
    package func wallMicroseconds() -> Int64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000
    }

    /// The monotonic clock (`CLOCK_MONOTONIC`).
    package func monotonicNanoseconds() -> UInt64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
