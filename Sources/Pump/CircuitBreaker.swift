/// Decides when deliveries to a sink are attempted. Times are monotonic nanoseconds.
///
/// Permitted transitions: closed → open (too many failures in a row); open → half-open (the wait is
/// over); half-open → closed (the probe got through), half-open → open (it did not).
struct CircuitBreaker {
    private(set) var state = Breaker.closed
    /// What went wrong last.
    private(set) var reason: String?
    /// Until when no delivery is attempted, while open.
    private(set) var openUntil: UInt64 = 0
    private var failures = 0
    private var wait: Backoff
    private let threshold: Int

    /// A closed breaker.
    init(threshold: Int, wait: Backoff) {
        self.threshold = threshold
        self.wait = wait
    }

    /// Whether a delivery may begin now.
    ///
    /// - Parameters:
    ///   - now: The time.
    ///   - active: How many deliveries are under way.
    mutating func permits(_ now: UInt64, active: Int) -> Bool {
        switch state {
        case .closed: return true
        case .halfOpen: return active == 0
        case .open:
            guard now >= openUntil, active == 0 else { return false }
            state = .halfOpen
            return true
        }
    }

    /// A delivery got through, at least in part.
    mutating func succeeded() {
        state = .closed
        failures = 0
        reason = nil
        wait.reset()
    }

    /// A delivery failed altogether.
    mutating func failed(
        _ reason: String?,
        _ now: UInt64,
        using generator: inout some RandomNumberGenerator
    ) {
        self.reason = reason ?? self.reason
        failures += 1
        switch state {
        case .open: return
        case .closed where failures < threshold: return
        case .closed, .halfOpen:
            state = .open
            openUntil = now &+ wait.next(&generator)
        }
    }

    /// The sink could not even be opened: nothing is attempted for a while.
    mutating func trip(
        _ reason: String,
        _ now: UInt64,
        using generator: inout some RandomNumberGenerator
    ) {
        self.reason = reason
        state = .open
        openUntil = now &+ wait.next(&generator)
    }
}

/// Growing waits between attempts, each random between half and all of its length, so that two
/// processes that failed together do not come back together.
struct Backoff {
    private let first: UInt64
    private let longest: UInt64
    private var attempts = 0

    /// Waits that grow from `first` to `longest`.
    init(first: Duration, longest: Duration) {
        self.first = max(1, first.nanoseconds)
        self.longest = max(self.first, longest.nanoseconds)
    }

    /// The next wait, in nanoseconds.
    mutating func next(_ generator: inout some RandomNumberGenerator) -> UInt64 {
        let (doubled, overflow) = first.multipliedReportingOverflow(by: 1 << UInt64(attempts))
        let limit = overflow ? longest : min(doubled, longest)
        attempts = min(attempts + 1, 40)
        return UInt64.random(in: limit / 2...limit, using: &generator)
    }

    /// Starts over after a success.
    mutating func reset() { attempts = 0 }
}

extension Duration {
    /// The duration in nanoseconds; negative ones are 0.
    var nanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        let (scaled, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? .max : scaled &+ UInt64(attoseconds / 1_000_000_000)
    }
}
