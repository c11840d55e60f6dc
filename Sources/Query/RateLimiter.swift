import Synchronization

/// How often each of many may do something: a bucket of tokens for each, refilled with time.
final class RateLimiter: Sendable {
    /// What is left of one bucket.
    private struct Bucket {
        /// Tokens at `updatedAt`.
        var level: Double
        /// Microseconds since the Unix epoch.
        var updatedAt: Int64
    }

    /// Buckets that are not full, by key. Owner: the lock.
    private let buckets = Mutex<[String: Bucket]>([:])
    private let perSecond: Double
    private let burst: Double
    private let keysMax: Int

    /// A limiter of `perSecond` on average and `perSecond * burstSeconds` at once; none if
    /// `perSecond` is 0. At most `keysMax` are remembered, chosen so that they take a few MB.
    init(perSecond: Int, burstSeconds: Int = 5, keysMax: Int = 10_000) {
        self.perSecond = Double(perSecond)
        burst = Double(perSecond * burstSeconds)
        self.keysMax = keysMax
    }

    /// Takes one for `key`; nil if it was there, else the whole seconds after which one will be.
    func take(_ key: String, now: Int64) -> Int? { check(key, now, takes: true) }

    /// The seconds after which there will be one for `key`; nil if there is one now.
    func wait(_ key: String, now: Int64) -> Int? { check(key, now, takes: false) }

    private func check(_ key: String, _ now: Int64, takes: Bool) -> Int? {
        guard perSecond > 0 else { return nil }
        return buckets.withLock { buckets in
            let level = buckets[key].map { self.level($0, now) } ?? burst
            guard level >= 1 else {
                return max(1, Int(((1 - level) / perSecond).rounded(.up)))
            }
            guard takes else { return nil }
            if buckets[key] == nil, buckets.count >= keysMax {
                buckets = buckets.filter { self.level($0.value, now) < burst }
                // So many at once are not one client any more: begin anew.
                if buckets.count >= keysMax { buckets.removeAll(keepingCapacity: true) }
            }
            buckets[key] = Bucket(level: level - 1, updatedAt: now)
            return nil
        }
    }

    /// The level now; a clock that was set back refills nothing.
    private func level(_ bucket: Bucket, _ now: Int64) -> Double {
        let seconds = Double(max(0, now - bucket.updatedAt)) / 1_000_000
        return min(burst, bucket.level + seconds * perSecond)
    }
}
