import Synchronization
import Threads

/// Tells blocking threads to stop, and lets them wait no longer than until then.
package final class StopSignal: Sendable {
    private let isSet = Atomic<Bool>(false)
    private let bell = Doorbell()

    /// A signal that has not been given.
    package init() {}

    /// Whether it has been given.
    package var isStopping: Bool { isSet.load(ordering: .acquiring) }

    /// Gives the signal; further calls do nothing.
    package func stop() {
        isSet.store(true, ordering: .releasing)
        bell.ring()
    }

    /// Blocks the calling thread for a time, or until the signal.
    package func wait(_ duration: Duration, time: () -> UInt64) {
        let deadline = time() &+ UInt64(clamping: duration.nanoseconds)
        while !isStopping {
            let seen = bell.count
            if isStopping { return }
            let now = time()
            if now >= deadline { return }
            bell.wait(since: seen, timeoutNanoseconds: Int64(clamping: deadline - now))
        }
    }
}

extension Duration {
    /// The duration in nanoseconds, at most `Int64.max`.
    var nanoseconds: Int64 {
        let (seconds, attoseconds) = components
        let (scaled, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? Int64.max : scaled + attoseconds / 1_000_000_000
    }

    /// The duration in microseconds.
    var microseconds: Int64 { nanoseconds / 1_000 }

    /// The duration in whole milliseconds.
    var milliseconds: Int64 { nanoseconds / 1_000_000 }
}

/// Growing waits between attempts, each random between half and all of its length, so that two
/// processes that failed together do not come back together.
struct Backoff {
    private let first: Duration
    private let longest: Duration
    private var attempts = 0

    /// Waits that grow from `first` to `longest`.
    init(first: Duration, longest: Duration) {
        self.first = first
        self.longest = longest
    }

    /// The next wait.
    mutating func next(_ generator: inout some RandomNumberGenerator) -> Duration {
        let doubled = first * (1 << min(attempts, 20))
        attempts += 1
        let limit = min(doubled, longest).nanoseconds
        return .nanoseconds(Int64.random(in: limit / 2...max(limit, 1), using: &generator))
    }

    /// Starts over after a success.
    mutating func reset() { attempts = 0 }
}
